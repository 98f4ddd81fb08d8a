export { NativeError, toNativeError } from './errors.ts';
export type { NativeErrorCode } from './errors.ts';
export { loadNative } from './loader.ts';
export type {
  ChannelCounters,
  Device,
  ExpertLoad,
  KVCacheDtype,
  KVCacheLayer,
  KVCacheSpec,
  NativeAddon,
  Op,
  Program,
  ProgramLimits,
  ProgramMemory,
  ProgramSpec,
  RankGroup,
  RawStepOutput,
  ReceiveChannel,
  SendChannel,
  Transport,
  ValueId,
  WeightCacheUse,
  WeightId,
} from './native.ts';
export type {
  Dtype,
  GgmlType,
  StoredWeight,
  TensorDtype,
  TensorSource,
  WeightQuantization,
  WeightSource,
} from './weight-source.ts';
export { type LogitRules, logitRulesWords, type SlotRules } from './logit-rules.ts';
export {
  feedbackToken,
  GREEDY_ROW,
  packStepInput,
  STEP_INPUT_HEADER_WORDS,
  STEP_INPUT_MAGIC,
  unpackStepOutput,
} from './step-io.ts';
export type { StepInput, StepOutputRow, StepRow, StepSequence } from './step-io.ts';
