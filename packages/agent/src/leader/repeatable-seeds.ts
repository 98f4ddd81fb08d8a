const GOLDEN = 0x9e3779b97f4a7c15n;

/** Seeds for requests that bring none, the same row for the same `seed` (splitmix64, which visits every value once). */
export function repeatableSeeds(seed: number): () => bigint {
  let state = BigInt(seed);
  return () => {
    state = BigInt.asUintN(64, state + GOLDEN);
    let mixed = state;
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n);
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
    return BigInt.asIntN(64, mixed ^ (mixed >> 31n));
  };
}
