import { describe, expect, it } from 'vitest';
import { StopStrings } from './stop-strings.ts';
import { seeded } from './testing/small-tokenizers.ts';

interface Outcome {
  readonly text: string;
  readonly stop: string | null;
}

function feed(stops: readonly string[], deltas: readonly string[], includeStopString: boolean): Outcome {
  const finder = new StopStrings(stops, { includeStopString });
  let text = '';
  for (const delta of deltas) {
    const result = finder.add(delta);
    text += result.text;
    if (result.stop !== null) return { text, stop: result.stop };
  }
  return { text: text + finder.end(), stop: null };
}

/** The definition, one character at a time over the whole text. */
function expected(stops: readonly string[], text: string, includeStopString: boolean): Outcome {
  for (let end = 1; end <= text.length; end++) {
    const found = stops
      .filter((s) => s !== '' && text.slice(0, end).endsWith(s))
      .sort((a, b) => b.length - a.length)[0];
    if (found !== undefined) return { text: text.slice(0, includeStopString ? end : end - found.length), stop: found };
  }
  return { text, stop: null };
}

describe('StopStrings', () => {
  it('holds back what may become a stop string, and lets it go at the end', () => {
    const finder = new StopStrings(['</answer>'], { includeStopString: false });
    expect(finder.add('a < b </ans')).toEqual({ text: 'a < b ', stop: null });
    expect(finder.add('wers')).toEqual({ text: '</answers', stop: null });
    expect(finder.add(' </')).toEqual({ text: ' ', stop: null });
    expect(finder.end()).toBe('</');
  });

  it('depends on the text alone, however it is cut', () => {
    const random = seeded(11);
    const word = (max: number): string =>
      Array.from({ length: 1 + Math.floor(random() * max) }, () => 'ab👍'.at(Math.floor(random() * 3)) ?? '').join('');
    for (let i = 0; i < 5_000; i++) {
      const stops = Array.from({ length: Math.floor(random() * 4) }, () => word(4));
      const deltas = Array.from({ length: Math.floor(random() * 8) }, () => word(5));
      const include = random() < 0.5;
      expect(feed(stops, deltas, include), JSON.stringify({ stops, deltas })).toEqual(
        expected(stops, deltas.join(''), include),
      );
    }
  });
});

it('text that is passed completes no stop string, and may begin one', () => {
  const stops = new StopStrings(['lo', 'world'], { includeStopString: false });
  expect([stops.pass('Hello'), stops.pass(', wor')]).toEqual(['Hello', ', ']);
  expect(stops.add('ld!')).toEqual({ text: '', stop: 'world' });
});
