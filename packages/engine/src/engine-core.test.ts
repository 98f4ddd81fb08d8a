import { describe, expect, it } from 'vitest';
import type { StepInput, StepOutputRow } from '@skein/native';
import { EngineCore } from './engine-core.ts';
import { engineConfig } from './engine-config.ts';
import type { Executor } from './executor.ts';
import { Request } from './request.ts';
import { Scheduler } from './scheduler.ts';
import { manualClock } from './testing/manual-clock.ts';
import { toyRequest, turn } from './testing/toy-request.ts';

/** Answers only when told to, in any order. */
function manualExecutor() {
  const steps: PromiseWithResolvers<readonly StepOutputRow[]>[] = [];
  const executor: Executor = {
    maxStepsInFlight: 2,
    numStages: 1,
    numBlocks: 8,
    blockSize: 16,
    maxModelLen: 64,
    maxLogprobs: 0,
    execute: (_input: StepInput) => {
      const step = Promise.withResolvers<readonly StepOutputRow[]>();
      steps.push(step);
      return step.promise;
    },
  };
  return { executor, steps };
}

const row = (tokenId: number): StepOutputRow => ({ tokenId, logprob: null, rank: null, top: [] });

function setUp(clock = manualClock()) {
  const scheduler = new Scheduler(engineConfig({ maxNumSeqs: 2 }));
  const { executor, steps } = manualExecutor();
  scheduler.reset(executor);
  const request = new Request(toyRequest('a', 3), 0);
  scheduler.add(request);
  let wakes = 0;
  const core = new EngineCore(scheduler, executor, clock, () => (wakes += 1));
  return { core, steps, request, wakes: () => wakes };
}

describe('EngineCore', () => {
  it('takes results in plan order, whatever order they come in', async () => {
    const { core, steps, request } = setUp();
    expect(core.step().planned).toHaveLength(2);
    steps[1]?.resolve([row(11)]);
    await turn();
    expect(core.step()).toMatchObject({ finished: [], planned: [] });
    steps[0]?.resolve([row(10)]);
    await turn();
    expect(core.step().finished.map((s) => s.step)).toEqual([0, 1]);
    expect(request.tokenIds.slice(3)).toEqual([10, 11]);
    expect(core.stepsUnderWay.map((s) => s.step)).toEqual([2, 3]);
  });

  it('plans behind a long step shortly before it ends, so that a client who leaves is not computed for', async () => {
    const clock = manualClock();
    const { core, steps, wakes } = setUp(clock);
    const settle = async (i: number): Promise<void> => {
      steps[i]?.resolve([row(10 + i)]);
      await turn();
      core.step();
    };
    core.step();
    clock.advance(10);
    await settle(0);
    expect(core.stepsUnderWay).toHaveLength(2);
    clock.advance(400);
    await settle(1);
    expect(core.stepsUnderWay).toHaveLength(1);
    const wakesBefore = wakes();
    // It is expected to take 268 ms: two thirds of the 400, and a third of the 10 / 3 of a token of the prompt.
    clock.advance(217);
    expect(core.step().planned).toHaveLength(0);
    expect(wakes()).toBe(wakesBefore);
    clock.advance(1);
    expect(wakes()).toBeGreaterThan(wakesBefore);
    expect(core.step().planned).toHaveLength(1);
  });

  it('calls the executor lost when an answer has the wrong number of rows', async () => {
    const { core, steps } = setUp();
    core.step();
    steps[0]?.resolve([]);
    await turn();
    expect(core.step().lost).toMatchObject({ code: 'ERR_EXECUTOR_LOST' });
  });
});
