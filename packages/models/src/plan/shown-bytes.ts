const UNITS = ['KiB', 'MiB', 'GiB', 'TiB'];

/** For people, to three digits; 0 is 0. */
export function shownBytes(bytes: number): string {
  if (bytes === 0) return '0';
  const power = Math.min(UNITS.length, Math.max(1, Math.floor(Math.log2(bytes) / 10)));
  const value = bytes / 2 ** (10 * power);
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${UNITS[power - 1]}`;
}
