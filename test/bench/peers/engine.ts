import type { LikelyToken } from '../timed-program.ts';

/** Both sides compute the same: this many threads, prompts and contexts. */
export const THREADS = 2;
export const STREAMS_MAX = 16;
export const PREFILL_TOKENS = 512;
/** Positions behind which the short cases decode. */
export const CONTEXT = 120;
/** Positions that a stream of the short cases has room for, beside those of the prompt. */
export const STREAM_POSITIONS = 256;
export const LONG_CONTEXT = 4096;
export const LONG_POSITIONS = LONG_CONTEXT + 64;
/** Positions whose likeliest tokens are compared. */
export const COMPARED_POSITIONS = 32;

export interface EngineModel {
  /** A checkpoint's directory, or a GGUF file. */
  readonly path: string;
  /** What skein makes of the checkpoint while it loads it; llama.cpp has it from its file. */
  readonly quantization: 'none' | 'int8';
  /** Streams that are filled to CONTEXT, at most STREAMS_MAX. */
  readonly streams: number;
  /** Whether a stream of LONG_CONTEXT positions is filled, which takes a minute. */
  readonly long: boolean;
}

export interface EngineFacts {
  /** Bytes of weights that one decode step reads. */
  readonly weightBytes: number;
  /** Bytes that one more position of context adds to what a decode step reads. */
  readonly bytesPerPosition: number;
  /** Floating-point operations of one token of a prompt of PREFILL_TOKENS, on average; null where not known. */
  readonly prefillFlopsPerToken: number | null;
  /** What its own report says of how it computes. */
  readonly notes: readonly string[];
}

/** One side of the comparison, in a process of its own. Times are seconds, from handing the work over to its end. */
export interface Engine {
  load(model: EngineModel): Promise<EngineFacts>;
  /** The first PREFILL_TOKENS positions of one stream, as one batch, with logits of the last. */
  prefill(): Promise<number>;
  /** `numSteps` tokens of each of `numStreams` streams behind CONTEXT positions, one batch a step; a step before them is not
   *  timed, since memory and caches are cold behind the other side's turn. */
  decode(numStreams: number, numSteps: number): Promise<number>;
  /** As decode, of the stream with LONG_CONTEXT positions. */
  decodeLong(numSteps: number): Promise<number>;
  /** The likeliest tokens behind each of the first COMPARED_POSITIONS positions of the first stream. */
  likeliest(): Promise<LikelyToken[][]>;
}
