import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The part that is used here of the addon that node-llama-cpp is built on, as its dist/bindings/AddonTypes.d.ts has it. */
export interface LlamaAddon {
  readonly AddonModel: new (
    file: string,
    options: { addonExports: LlamaAddon; gpuLayers: number; useMmap: boolean },
  ) => LlamaModel;
  readonly AddonContext: new (model: LlamaModel, options: LlamaContextOptions) => LlamaContext;
  readonly AddonSampler: new (model: LlamaModel) => LlamaSampler;
  setLogger(logger: (level: number, message: string) => void): void;
  setLoggerLogLevel(level: number): void;
  loadBackends(folder?: string): void;
  systemInfo(): string;
  init(): Promise<void>;
}

export interface LlamaContextOptions {
  /** Positions of all sequences together. */
  readonly contextSize: number;
  /** Most tokens of a batch, which llama.cpp computes in one piece. */
  readonly batchSize: number;
  readonly sequences: number;
  readonly flashAttention: 'auto';
  readonly threads: number;
}

export interface LlamaModel {
  init(): Promise<boolean>;
  getTotalSize(): number;
  getModelDescription(): string;
}

export interface LlamaContext {
  init(): Promise<boolean>;
  getThreads(): number;
  initBatch(size: number): void;
  /** @returns for each of `logitIndexes` (into `tokens`) what `sampleToken` knows it by. */
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  /** One llama_decode of the batch, on a thread of libuv's. */
  decodeBatch(): Promise<void>;
  /** `logits` of the answer: id, logit, id, logit, … of the `top` likeliest. */
  sampleToken(
    logitIndex: number,
    sampler: LlamaSampler,
    probabilities: false,
    confidence: false,
    logits: [tokens: never[], max: false, min: false, selected: false, top: number],
  ): Promise<[token: number, probabilities: undefined, confidence: undefined, logits: number[]]>;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
}

export interface LlamaSampler {
  applyConfig(config: { temperature: number }): void;
}

const LOG_EVERYTHING = 6;

/** Loads the addon that comes built ahead for this machine, with the variant of its kernels that suits the processor.
 *  @param log takes llama.cpp's own report, in pieces of lines. */
export async function loadLlamaAddon(log: (text: string) => void): Promise<LlamaAddon> {
  const platform = `linux-${process.arch}`;
  const entry = fileURLToPath(import.meta.resolve(`@node-llama-cpp/${platform}`));
  const folder = `${dirname(dirname(entry))}/bins/${platform}/`;
  const addon = createRequire(import.meta.url)(`${folder}llama-addon.node`) as LlamaAddon;
  addon.setLogger((_, text) => log(text));
  addon.setLoggerLogLevel(LOG_EVERYTHING);
  addon.loadBackends();
  addon.loadBackends(folder);
  await addon.init();
  return addon;
}
