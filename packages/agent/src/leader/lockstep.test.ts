import type { Executor } from '@skein/engine';
import type { StepInput, StepOutputRow } from '@skein/native';
import { expect, test } from 'vitest';
import { stepInput } from '../testing/step-words.ts';
import { Lockstep } from './lockstep.ts';

interface Ran {
  readonly input: StepInput;
  readonly finish: () => void;
  readonly fail: (error: Error) => void;
}

/** An executor whose steps end when a test says so. */
class Held implements Executor {
  readonly maxStepsInFlight = 2;
  readonly numStages = 1;
  readonly numBlocks = 8;
  readonly blockSize = 16;
  readonly maxModelLen = 64;
  readonly maxLogprobs = 0;
  readonly ran: Ran[] = [];

  execute(input: StepInput): Promise<readonly StepOutputRow[]> {
    return new Promise((resolve, reject) => {
      this.ran.push({ input, finish: () => resolve([]), fail: reject });
    });
  }

  shapes(): unknown[] {
    return this.ran.map(({ input }) => [input.step, input.feedbackStep, input.sequences.length, input.sourceTokens]);
  }
}

/** Longer than an engine takes to say what follows a step. */
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

test('a replica that rests takes part with empty steps, and waits for nobody', async () => {
  const held = [new Held(), new Held()];
  const [first] = new Lockstep(held).executors;
  const done = first?.execute(stepInput(7));
  expect(held.map((executor) => executor.shapes())).toEqual([[[0, -1, 1, [1, 0]]], [[0, -1, 0, [1, 0]]]]);
  for (const executor of held) executor.ran[0]?.finish();
  expect(await done).toEqual([]);
});

test('a wave waits for every replica that computes, until its engine has said what follows', async () => {
  const held = [new Held(), new Held()];
  const [first, second] = new Lockstep(held).executors;
  void first?.execute(stepInput(0));
  // The first may have more: the second's step waits for it.
  void second?.execute(stepInput(0));
  await settled();
  expect(held.map(({ ran }) => ran.length)).toEqual([1, 1]);
  // Now it has.
  void first?.execute({ ...stepInput(1), feedbackStep: 0 });
  expect(held.map((executor) => executor.shapes().at(-1))).toEqual([
    [1, 0, 1, [1, 1]],
    [1, -1, 1, [1, 1]],
  ]);
  void first?.execute({ ...stepInput(2), feedbackStep: 1 });
  await settled();
  expect(held[0]?.ran).toHaveLength(2);
  // The second has nothing more to do, which is known a turn after it has finished.
  for (const { finish } of held[1]?.ran ?? []) finish();
  await settled();
  expect(held.map((executor) => executor.shapes().at(-1))).toEqual([
    [2, 1, 1, [1, 0]],
    [2, -1, 0, [1, 0]],
  ]);
});

test('steps are numbered by wave, feedback too', async () => {
  const held = [new Held(), new Held()];
  const [first, second] = new Lockstep(held).executors;
  void second?.execute(stepInput(40));
  held[1]?.ran[0]?.finish();
  await settled();
  void first?.execute(stepInput(3));
  void second?.execute({ ...stepInput(41), feedbackStep: 40 });
  held[0]?.ran[1]?.finish();
  await settled();
  expect(held[1]?.ran.map(({ input }) => [input.step, input.feedbackStep])).toContainEqual([0, -1]);
  const later = held[1]?.ran.find(({ input }) => input.feedbackStep === 0);
  expect(later?.input.step).toBeGreaterThan(0);
});

test('a step that fails fails its own replica', async () => {
  const held = [new Held(), new Held()];
  const [first, second] = new Lockstep(held).executors;
  const failed = first?.execute(stepInput(0));
  held[1]?.ran[0]?.fail(new Error('an empty step'));
  held[0]?.ran[0]?.fail(new Error('rank 0 is gone'));
  await expect(failed).rejects.toThrow('rank 0 is gone');
  await settled();
  const next = second?.execute(stepInput(0));
  held[1]?.ran[1]?.finish();
  expect(await next).toEqual([]);
});
