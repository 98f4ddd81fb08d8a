import { existsSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  checkCheckpoint,
  type GenerationConfig,
  ggufFiles,
  type ModelConfig,
  type QuantizationOption,
  readCheckpointTensors,
  readGenerationConfig,
  readGguf,
  readModel,
  resolveKVCacheDtype,
} from '@skein/models';
import type { KVCacheDtype } from '@skein/native';
import { tokenizerCodec, type TextCodec } from '@skein/openai-server';
import { Tokenizer } from '@skein/tokenizer';
import { ConfigError } from '../errors.ts';
import type { NodeOptions } from '../node-options.ts';

/** What the leader knows of the model: everything but the weights and the tokenizer. */
export interface ServedModelFiles {
  readonly dir: string;
  /** What the API answers to; the first is its own. */
  readonly names: readonly string[];
  readonly config: ModelConfig;
  readonly generation: GenerationConfig | null;
  readonly numTensors: number;
  /** Tensors that inference does not read, among `numTensors`. */
  readonly numUnneededTensors: number;
  readonly kvDtype: KVCacheDtype;
  /** What the weights are quantized to, or how they are stored. */
  readonly quantization: QuantizationOption;
  readonly maxModelLen: number;
  readonly eosTokenIds: readonly number[];
}

export async function readServedModel(options: NodeOptions): Promise<ServedModelFiles> {
  const dir = resolve(options.model);
  const described = await readModel(dir);
  const { config } = described;
  const generation = await readGeneration(dir, options.generationConfig);
  const tensors = await readCheckpointTensors(dir);
  const unneededTensors = checkCheckpoint({ model: described, tensors, quantization: options.quantization });
  const kvDtype = resolveKVCacheDtype(options.kvCacheDtype, config, tensors);
  const maxModelLen = options.maxModelLen ?? config.maxPositionEmbeddings;
  if (maxModelLen > config.maxPositionEmbeddings) {
    throw new ConfigError(
      'ERR_MAX_MODEL_LEN',
      `--max-model-len ${maxModelLen} exceeds the model's max_position_embeddings ${config.maxPositionEmbeddings}`,
    );
  }
  const eosTokenIds = generation && generation.eosTokenIds.length > 0 ? generation.eosTokenIds : config.eosTokenIds;
  return {
    dir,
    names: options.servedModelNames,
    config,
    generation,
    numTensors: tensors.size,
    numUnneededTensors: unneededTensors.length,
    kvDtype,
    quantization: options.quantization === 'none' ? (config.quantization?.method ?? 'none') : options.quantization,
    maxModelLen,
    eosTokenIds,
  };
}

/** Of tokenizer.json. */
const LARGE_TOKENIZER_BYTES = 1e6;

/** Whether `readCodec` may take this thread for long: half a second for 128k tokens. */
export function isLargeTokenizer({ tokenizer: path }: NodeOptions): boolean {
  const file = statSync(join(path, 'tokenizer.json'), { throwIfNoEntry: false });
  return file === undefined ? ggufFiles(path) !== null : file.size > LARGE_TOKENIZER_BYTES;
}

/** The tokenizer of a folder with tokenizer.json, or of a GGUF file (or the one in a folder). */
export async function readCodec({ tokenizer: path, chatTemplate: option }: NodeOptions): Promise<TextCodec> {
  const chatTemplate = chatTemplateText(option);
  const [file] = existsSync(join(path, 'tokenizer.json')) ? [] : (ggufFiles(path) ?? []);
  return tokenizerCodec(
    file === undefined
      ? await Tokenizer.load(path, { chatTemplate })
      : Tokenizer.fromGguf(readGguf(file).metadata, { file, chatTemplate }),
  );
}

async function readGeneration(dir: string, option: string): Promise<GenerationConfig | null> {
  if (option === 'vllm') return null;
  if (option === 'auto') return readGenerationConfig(dir);
  const generation = await readGenerationConfig(resolve(option));
  if (generation !== null) return generation;
  throw new ConfigError(
    'ERR_OPTION',
    `--generation-config is ${option}, which holds no generation_config.json; choose auto, vllm or a folder with one`,
  );
}

/** As vLLM: a file's content, or what cannot be a file's name. */
function chatTemplateText(option: string | null): string | null {
  if (option === null) return null;
  if (existsSync(option)) return readFileSync(option, 'utf8');
  if (/[{}\n]/.test(option)) return option;
  throw new ConfigError('ERR_OPTION', `--chat-template is ${option}, which is neither a file nor a template`);
}
