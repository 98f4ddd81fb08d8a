import { expect } from 'vitest';
import type { Generation } from './driver.ts';
import type { ReferenceModel } from './fixture.ts';

/** Largest difference from the reference over all logits the fixture has, of sequences whose tokens agree so far. */
export function deviation(fixture: ReferenceModel, found: readonly Generation[]): number {
  return most(fixture, found, () => 1);
}

/** The same as a share of each position's largest logit, or of 1 where that is larger. */
export function relativeDeviation(fixture: ReferenceModel, found: readonly Generation[]): number {
  return most(fixture, found, (reference) => Math.min(1, Math.max(...reference.map(Math.abs))));
}

function most(
  fixture: ReferenceModel,
  found: readonly Generation[],
  unitOf: (reference: Float32Array) => number,
): number {
  let worst = 0;
  for (const [i, { tokenIds, logits }] of found.entries()) {
    const wanted = fixture.cases[i];
    if (wanted === undefined) throw new Error('a generation without its case');
    const differs = tokenIds.findIndex((id, n) => id !== wanted.greedyTokenIds[n]);
    const agreed = differs < 0 ? Infinity : wanted.promptTokenIds.length + differs;
    for (const [position, reference] of wanted.logits) {
      if (position >= agreed) continue;
      const own = logits.get(position);
      if (own === undefined) throw new Error(`no logits for position ${position}`);
      const unit = unitOf(reference);
      for (const [v, x] of reference.entries()) worst = Math.max(worst, Math.abs(x - (own[v] ?? NaN)) / unit);
    }
  }
  return worst;
}

export function expectGreedyIds(fixture: ReferenceModel, found: readonly Generation[]): void {
  expect(found.map((g) => g.tokenIds)).toEqual(fixture.cases.map((c) => c.greedyTokenIds));
}

/** Same ids, and the same bits in every logit of every position. */
export function expectIdentical(found: readonly Generation[], wanted: readonly Generation[]): void {
  expect(found.map((g) => g.tokenIds)).toEqual(wanted.map((g) => g.tokenIds));
  const different = found.flatMap((g, i) =>
    [...g.logits]
      .filter(([position, logits]) => !sameBits(logits, wanted[i]?.logits.get(position)))
      .map(([position]) => `sequence ${i} position ${position}`),
  );
  expect(different).toEqual([]);
}

function sameBits(a: Float32Array, b: Float32Array | undefined): boolean {
  return (
    b !== undefined &&
    Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))
  );
}
