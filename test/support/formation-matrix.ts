/** A way to split and store a model. */
export interface Cell {
  readonly tensor: number;
  readonly stages: number;
  readonly replicas: number;
  readonly quantization: 'none' | 'int4';
}

const AXES = {
  tensor: [1, 2, 4],
  stages: [1, 2, 3],
  replicas: [1, 2],
  quantization: ['none', 'int4'],
} as const;
const KEYS = ['tensor', 'stages', 'replicas', 'quantization'] as const;

/** Every cell. */
export function allCells(): Cell[] {
  return AXES.quantization.flatMap((quantization) =>
    AXES.replicas.flatMap((replicas) =>
      AXES.stages.flatMap((stages) => AXES.tensor.map((tensor) => ({ tensor, stages, replicas, quantization }))),
    ),
  );
}

export function ranksOf({ tensor, stages, replicas }: Cell): number {
  return tensor * stages * replicas;
}

/** Cells in which any two values of two axes meet, where they can within `ranksMax` ranks; the same every time. */
export function pairwiseCells(ranksMax: number): Cell[] {
  const candidates = allCells().filter((cell) => ranksOf(cell) <= ranksMax);
  const open = new Set(candidates.flatMap(pairsOf));
  const chosen: Cell[] = [];
  while (open.size > 0) {
    const gain = (cell: Cell): number => pairsOf(cell).filter((pair) => open.has(pair)).length;
    const best = candidates.reduce((a, b) => (gain(b) > gain(a) ? b : a));
    for (const pair of pairsOf(best)) open.delete(pair);
    chosen.push(best);
  }
  return chosen;
}

function pairsOf(cell: Cell): string[] {
  return KEYS.flatMap((a, i) => KEYS.slice(i + 1).map((b) => `${a}=${cell[a]} ${b}=${cell[b]}`));
}
