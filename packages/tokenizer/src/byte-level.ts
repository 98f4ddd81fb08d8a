/** GPT-2's spelling of bytes as printable characters, which byte-level vocabularies are written in. */
const BYTE_OF_CHAR: ReadonlyMap<string, number> = (() => {
  const printable = [
    [0x21, 0x7e],
    [0xa1, 0xac],
    [0xae, 0xff],
  ] as const;
  const map = new Map<string, number>();
  for (const [first, last] of printable) for (let b = first; b <= last; b++) map.set(String.fromCharCode(b), b);
  const taken = new Set(map.values());
  let next = 0x100;
  for (let b = 0; b < 256; b++) if (!taken.has(b)) map.set(String.fromCharCode(next++), b);
  return map;
})();

const encoder = new TextEncoder();

/** Bytes that a byte-level decoder makes of a token: one per character, or, when any character is none of the alphabet's,
 *  the token's own UTF-8. */
export function bytesOfByteLevelToken(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = BYTE_OF_CHAR.get(char);
    if (byte === undefined) return encoder.encode(token);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
