export { checkCheckpoint } from './checkpoint-check.ts';
export { readCheckpointTensors } from './checkpoint-tensors.ts';
export { defaultPartition, measuredPartition } from './default-partition.ts';
export {
  DTYPE_BYTES,
  type DtypeOption,
  KV_CACHE_DTYPE_OPTIONS,
  type KVCacheDtypeOption,
  resolveDtype,
  resolveKVCacheDtype,
} from './dtype.ts';
export {
  CheckpointError,
  CheckpointWriteError,
  ExpertLoadError,
  ExpertPlacementError,
  FormationChoiceError,
  ModelConfigError,
  StageSplitError,
  TensorSplitError,
} from './errors.ts';
export { readExpertLoads } from './expert-load-file.ts';
export { type ExpertPlacement, mixturesOf, placeMixtures } from './expert-placement.ts';
export { modelFingerprint } from './fingerprint.ts';
export { type GenerationConfig, parseGenerationConfig, readGenerationConfig } from './generation-config.ts';
export { type EncodableDtype, encodeGgml } from './gguf/ggml-encode.ts';
export type { GgufDtype } from './gguf/ggml-types.ts';
export type { GgufValue } from './gguf/gguf-value.ts';
export { type GgufTensorToWrite, type GgufToWrite, writeGguf } from './gguf/gguf-writer.ts';
export { ggufFiles } from './gguf/gguf-files.ts';
export { type GgufFile, readGguf } from './gguf/read-gguf.ts';
export { kvBlockBytes, kvBlocksInBudget } from './kv-cache-size.ts';
export type { Model } from './model.ts';
export type { ModelConfig } from './model-config.ts';
export { ANSWER_TOKENS, BANDWIDTH_SHARE } from './plan/decode-rate.ts';
export type { GivenDegrees } from './plan/formation-choice.ts';
export { modelFacts } from './plan/model-facts.ts';
export { type PlannedCheckpoint, readPlannedCheckpoint } from './plan/planned-checkpoint.ts';
export { cpuMemory, gpuMemory, type RankMemory } from './plan/rank-memory.ts';
export { type Recommendation, recommendFormation } from './plan/recommendation.ts';
export { shownBytes } from './plan/shown-bytes.ts';
export {
  type PlannedDevices,
  type PlannedLoad,
  type SizedFormation,
  usableBytes,
  usedBytes,
} from './plan/sized-formation.ts';
export type { BlockCosts } from './plan/stage-balance.ts';
export { weightBytes } from './plan/weight-bytes.ts';
export { QUANTIZATION_OPTIONS, type QuantizationOption } from './quantization/quantization-option.ts';
export { KNOWN_ARCHITECTURES, parseModel, readModel } from './model-registry.ts';
export type { RopeConfig, RopeScaling } from './rope-config.ts';
export { ropeFrequencies, type RopeFrequencies } from './rope-frequencies.ts';
export { INDEX_FILE, SINGLE_FILE } from './safetensors.ts';
export { tensorBytes, type TensorToWrite, writeSafetensors } from './safetensors-writer.ts';
export { hasBlock, type LayerRange, stageLayers } from './stage-layers.ts';
export { stagePeer } from './stage-peer.ts';
export { rankCacheLayers } from './rank-cache-layers.ts';
export { type FormationShape, type RankChannel, rankChannels } from './rank-channels.ts';
export { recordWhole } from './record-whole.ts';
export { buildStageProgram, type StageProgramOptions } from './stage-program.ts';
export { type ReplicaPlace, TENSOR_GROUP, type TensorPlace } from './tensor-shard.ts';
export {
  CHECKPOINT_SHAPES,
  type CheckpointShape,
  parseCheckpointShape,
} from './random-checkpoint/checkpoint-shapes.ts';
export {
  type RandomCheckpoint,
  type RandomCheckpointOptions,
  writeRandomCheckpoint,
} from './random-checkpoint/random-checkpoint.ts';
