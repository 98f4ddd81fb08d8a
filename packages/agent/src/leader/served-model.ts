import { basename, resolve } from 'node:path';
import {
  checkCheckpoint,
  type GenerationConfig,
  type ModelConfig,
  readCheckpointTensors,
  readGenerationConfig,
  readModel,
  resolveDtype,
} from '@skein/models';
import type { Dtype } from '@skein/native';
import { tokenizerCodec, type TextCodec } from '@skein/openai-server';
import { Tokenizer } from '@skein/tokenizer';
import { ConfigError } from '../errors.ts';
import type { NodeOptions } from '../node-options.ts';

/** What the leader knows of the model: everything but the weights. */
export interface ServedModelFiles {
  readonly dir: string;
  readonly name: string;
  readonly config: ModelConfig;
  readonly generation: GenerationConfig | null;
  readonly numTensors: number;
  /** Tensors that inference does not read, among `numTensors`. */
  readonly numUnneededTensors: number;
  readonly kvDtype: Dtype;
  readonly codec: TextCodec;
  readonly maxModelLen: number;
  readonly eosTokenIds: readonly number[];
}

export async function readServedModel(options: NodeOptions): Promise<ServedModelFiles> {
  const dir = resolve(options.model);
  const described = await readModel(dir);
  const { config } = described;
  const generation = await readGenerationConfig(dir);
  const tensors = await readCheckpointTensors(dir);
  const unneededTensors = checkCheckpoint(described, tensors);
  const kvDtype = resolveDtype(options.dtype, config, tensors);
  const codec = tokenizerCodec(await Tokenizer.load(dir));
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
    name: options.servedModelName || basename(dir),
    config,
    generation,
    numTensors: tensors.size,
    numUnneededTensors: unneededTensors.length,
    kvDtype,
    codec,
    maxModelLen,
    eosTokenIds,
  };
}
