import { describe, expect, it } from 'vitest';
import { endsInRepetition } from './repetition.ts';

const detection = { minPatternSize: 1, maxPatternSize: 3, minCount: 3 };
const found = (ids: string, from = 0, options = {}): boolean =>
  endsInRepetition(
    Array.from(ids, (c) => c.charCodeAt(0)),
    from,
    { ...detection, ...options },
  );

describe('a repetition', () => {
  it('is a pattern of an allowed size, often enough, at the very end', () => {
    expect(['aaa', 'xababab', 'abcabcabc', 'xyzaaa'].map((ids) => found(ids))).toEqual([true, true, true, true]);
    expect(['aa', 'aab', 'ababa', 'aaab', 'bcabcabc', 'abcdabcdabcd'].map((ids) => found(ids))).not.toContain(true);
  });

  it('has the size asked for, and counts outputs alone', () => {
    expect(found('aaa', 0, { minPatternSize: 2 })).toBe(false);
    expect(found('aaaaaa', 0, { minPatternSize: 2 })).toBe(true);
    expect([found('aaaaa', 2), found('aaaaa', 3)]).toEqual([true, false]);
  });
});
