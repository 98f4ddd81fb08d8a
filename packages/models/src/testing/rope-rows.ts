/** Where llama.cpp's layout of a rotary projection takes its rows from: entry r is the row of the published checkpoint that
 *  becomes row r. The checkpoint rotates element i of a head with element headDim / 2 + i, llama.cpp 2 * i with 2 * i + 1. */
export function ropeRowOrder(numHeads: number, headDim: number): number[] {
  const half = headDim / 2;
  return Array.from({ length: numHeads * headDim }, (_, row) => {
    const element = row % headDim;
    return row - element + (element % 2) * half + Math.floor(element / 2);
  });
}
