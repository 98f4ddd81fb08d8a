import { bytesSchema } from './bytes.ts';
import { z } from 'zod';

/** One step's work for every stage of a group. `input` is the packed step input of `@skein/native` (little-endian i32
 *  words), which the addon checks word by word before it runs. */
export const stepPlanSchema = z.object({
  epoch: z.int().min(0),
  step: z.int().min(0),
  /** The step fails on the rank when its inputs have not arrived this many ms after the plan did. */
  deadlineMs: z.int().min(1),
  input: bytesSchema,
});
export type StepPlan = z.infer<typeof stepPlanSchema>;

/** What the last stage found (arrays indexed by row), or why a stage failed. */
export const stepResultSchema = z.object({
  epoch: z.int().min(0),
  step: z.int().min(0),
  stage: z.int().min(0),
  computeUs: z.int().min(0),
  waitUs: z.int().min(0),
  output: bytesSchema.nullable(),
  error: z.object({ code: z.string().max(100), message: z.string().max(4000) }).nullable(),
});
export type StepResult = z.infer<typeof stepResultSchema>;
