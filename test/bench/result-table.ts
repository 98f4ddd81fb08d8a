import type { BenchResult } from './bench-result.ts';

const HEADER = ['bench', 'value', 'unit', 'peer', 'ratio', 'limit', 'share', 'goal'];

/** Results for people: one line each, columns aligned. */
export function resultTable(results: readonly BenchResult[]): string {
  const rows = results.map((r) => [
    r.name,
    String(r.value),
    r.unit,
    r.peer === null ? '' : `${r.peer} ${r.peerValue ?? ''}`,
    text(r.ratio),
    text(r.limit),
    text(r.limitShare),
    r.limitGoal === null ? text(r.goal) : `${text(r.goal)} and ${r.limitGoal} of the limit`,
  ]);
  const lines = [HEADER, ...rows];
  const widths = HEADER.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function text(value: number | null): string {
  return value === null ? '' : String(value);
}
