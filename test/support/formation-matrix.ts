/** A way to split and store a model. */
export interface Cell {
  readonly tensor: number;
  readonly stages: number;
  readonly replicas: number;
  readonly quantization: 'none' | 'int4';
  /** `shared`: spread over all replicas of a mixture. */
  readonly experts: 'own' | 'shared';
}

const AXES = {
  tensor: [1, 2, 4],
  stages: [1, 2, 3],
  replicas: [1, 2],
  quantization: ['none', 'int4'],
  experts: ['own', 'shared'],
} as const;
const KEYS = ['tensor', 'stages', 'replicas', 'quantization', 'experts'] as const;

/** Every cell. Experts are shared by two replicas or more. */
export function allCells(): Cell[] {
  return AXES.experts
    .flatMap((experts) => AXES.quantization.map((quantization) => ({ experts, quantization })))
    .flatMap((cell) => AXES.replicas.map((replicas) => ({ ...cell, replicas })))
    .flatMap((cell) => AXES.stages.map((stages) => ({ ...cell, stages })))
    .flatMap((cell) => AXES.tensor.map((tensor) => ({ ...cell, tensor })))
    .filter(({ experts, replicas }) => experts === 'own' || replicas > 1);
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
