/** Keeps special tokens that a user typed from becoming special tokens.
 *
 *  A chat template mixes its own special tokens with the users' text, and may trim or cut that text, so the two cannot be told
 *  apart by position afterwards. Hence, before rendering, a mark is put inside every special token that stands in user text
 *  (and inside a beginning of one at its end, which the next text could complete). Whatever the template does, a special token
 *  with a mark in it came from a user: its stretch of text is encoded by a tokenizer that knows no special tokens. */

/** Noncharacters: no text has a use for them. One that does not occur is the mark. */
const MARKS = Array.from({ length: 32 }, (_, i) => String.fromCharCode(0xfdd0 + i));

export interface TextStretch {
  readonly text: string;
  /** Whether special tokens in it are meant as such. */
  readonly parseSpecial: boolean;
}

export class SpecialText {
  /** Longest first, so that a special token is never taken for a shorter one it starts with. */
  readonly #specials: readonly string[];
  readonly #pattern: RegExp | null;
  /** The same, for asking about one place. */
  readonly #atPlace: RegExp | null;
  /** The first characters of special tokens: only there is a closer look needed. */
  readonly #firstChars: RegExp | null;

  constructor(specials: readonly string[]) {
    this.#specials = specials.filter((s) => s.length > 0).sort((a, b) => b.length - a.length);
    this.#pattern = anyOf(this.#specials, 'g');
    this.#atPlace = anyOf(this.#specials, 'y');
    this.#firstChars = anyOf([...new Set(this.#specials.map(firstChar))], 'g');
  }

  /** A mark that occurs nowhere in `text`; null when all do. */
  chooseMark(text: string): string | null {
    return MARKS.find((m) => !text.includes(m)) ?? null;
  }

  contains(text: string): boolean {
    return this.#pattern !== null && text.search(this.#pattern) >= 0;
  }

  /** Marks the special tokens in a user's text, overlapping ones too. */
  mark(text: string, mark: string): string {
    if (this.#firstChars === null) return text;
    // Templates trim, so what may be joined to the next text is the end without its blanks.
    const end = text.trimEnd().length;
    return text.replaceAll(this.#firstChars, (char, at: number) =>
      this.#startsSpecial(text, at, end) ? char + mark : char,
    );
  }

  /** Cuts rendered text into stretches, all marks removed. */
  split(text: string, mark: string): TextStretch[] {
    if (!text.includes(mark) || this.#pattern === null) return [{ text, parseSpecial: true }];
    const stretches: TextStretch[] = [];
    for (const [i, section] of this.#sections(text, mark).entries()) {
      const parseSpecial = !section.includes(mark);
      const last = stretches.at(-1);
      const plain = section.replaceAll(mark, '');
      // Sections that need no care stay one text, encoded as it would be without any of this.
      if (i > 0 && parseSpecial && last?.parseSpecial)
        stretches[stretches.length - 1] = { text: last.text + plain, parseSpecial };
      else if (plain !== '') stretches.push({ text: plain, parseSpecial });
    }
    return stretches;
  }

  /** Whether a whole special token stands at `at`, or the beginning of one between `at` and `end`. */
  #startsSpecial(text: string, at: number, end: number): boolean {
    if (this.#atPlace === null) return false;
    this.#atPlace.lastIndex = at;
    if (this.#atPlace.test(text)) return true;
    if (at >= end || end - at >= (this.#specials[0]?.length ?? 0)) return false;
    const tail = text.slice(at, end);
    return this.#specials.some((s) => s.startsWith(tail));
  }

  /** The template's special tokens, and what stands between them. */
  #sections(text: string, mark: string): string[] {
    const sections: string[] = [];
    let from = 0;
    for (const match of text.matchAll(this.#pattern ?? /$^/gu)) {
      const end = match.index + match[0].length;
      // A one-character special token cannot have a mark inside; it has one behind.
      if (text.startsWith(mark, end) && Array.from(match[0]).length === 1) continue;
      sections.push(text.slice(from, match.index), match[0]);
      from = end;
    }
    sections.push(text.slice(from));
    return sections;
  }
}

function anyOf(texts: readonly string[], flags: string): RegExp | null {
  if (texts.length === 0) return null;
  return new RegExp(texts.map((t) => t.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)).join('|'), flags);
}

function firstChar(text: string): string {
  return String.fromCodePoint(text.codePointAt(0) ?? 0);
}
