export { loadNative } from './loader.ts';
export { NativeError } from './errors.ts';
export type * from './native.ts';
export {
  feedbackToken,
  packStepInput,
  STEP_INPUT_HEADER_WORDS,
  STEP_INPUT_MAGIC,
  type StepInput,
  type StepOutputRow,
  type StepRow,
  type StepSequence,
  unpackStepOutput,
} from './step-io.ts';
