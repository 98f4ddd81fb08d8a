import type { RawStepOutput } from '@skein/native';
import type { StepPlan, StepResult } from '@skein/protocol';

/** What the wire takes of an error. */
const CODE_CHARS_MAX = 100;
const MESSAGE_CHARS_MAX = 4000;

/** Runs a plan; the rank that answers does so with the output, any rank with its failure. Never rejects. */
export async function executePlan(
  run: (input: Int32Array, deadlineMs: number) => Promise<RawStepOutput>,
  plan: StepPlan,
  place: { readonly stage: number; readonly answers: boolean },
): Promise<StepResult | null> {
  const { epoch, step } = plan;
  const { stage, answers } = place;
  try {
    // The addon refuses what is no whole number of words, as it does an empty input.
    const bytes = plan.input.byteLength % 4 === 0 ? new Uint8Array(plan.input) : new Uint8Array();
    const { words, computeUs, waitUs } = await run(new Int32Array(bytes.buffer), plan.deadlineMs);
    if (!answers) return null;
    return {
      epoch,
      step,
      stage,
      computeUs,
      waitUs,
      output: new Uint8Array(words.buffer, words.byteOffset, words.byteLength),
      error: null,
    };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'ERR_INTERNAL';
    const message = error instanceof Error ? error.message : String(error);
    return {
      epoch,
      step,
      stage,
      computeUs: 0,
      waitUs: 0,
      output: null,
      error: { code: code.slice(0, CODE_CHARS_MAX), message: message.slice(0, MESSAGE_CHARS_MAX) },
    };
  }
}
