import type { ModelFacts } from './model-facts.ts';
import type { Planning, SizedFormation } from './sized-formation.ts';

/** Part of a device's bandwidth that decoding gets out of it. */
export const BANDWIDTH_SHARE = 0.5;
/** Tokens of an answer, where nobody says. */
export const ANSWER_TOKENS = 256;

/** What reading memory allows a formation; prompts come on top. */
export interface DecodeRate {
  /** Between two tokens of a lone sequence. */
  readonly tokenMs: number;
  /** Of a group whose KV cache is full of sequences that are half way. */
  readonly tokensPerSecond: number;
  /** Answers a second, of a group. */
  readonly requestsPerSecond: number;
}

/** Every step reads all weights and the KV of its sequences, at half of `bandwidth` (bytes a second, of a device). */
export function decodeRate(
  planning: Planning,
  facts: ModelFacts,
  formation: SizedFormation,
  bandwidth: number,
): DecodeRate {
  const { load } = planning;
  const { ranks, sequences, degrees } = formation;
  const seconds = (bytes: number): number => bytes / (bandwidth * BANDWIDTH_SHARE);
  const batch = Math.max(1, Math.min(load.limits.maxSeqs, Math.floor(sequences / degrees.data)));
  // A stage works on one of the batches that are in flight.
  const perStage = Math.max(1, Math.floor(batch / degrees.pipeline));
  const kvBytes = (rank: (typeof ranks)[number]): number => (rank.kvTokenBytes * load.context) / 2;
  const lone = ranks.reduce((sum, rank) => sum + seconds(rank.weightBytes * activeShare(facts, 1) + kvBytes(rank)), 0);
  const slowest = Math.max(
    ...ranks.map((rank) => seconds(rank.weightBytes * activeShare(facts, perStage) + perStage * kvBytes(rank))),
  );
  const tokensPerSecond = perStage / slowest;
  return { tokenMs: lone * 1000, tokensPerSecond, requestsPerSecond: tokensPerSecond / ANSWER_TOKENS };
}

/** Part of the weights that a step of `batch` tokens reads: of a mixture the experts that someone chose. */
function activeShare({ weightBytes, expertBytes, numExperts, expertsPerToken }: ModelFacts, batch: number): number {
  if (numExperts === 0) return 1;
  const chosen = 1 - (1 - expertsPerToken / numExperts) ** batch;
  return 1 - (expertBytes / weightBytes) * (1 - chosen);
}
