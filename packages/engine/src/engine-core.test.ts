import { describe, expect, it } from 'vitest';
import type { StepInput, StepOutputRow } from '@skein/native';
import { EngineCore } from './engine-core.ts';
import { engineConfig } from './engine-config.ts';
import type { Executor } from './executor.ts';
import { Request } from './request.ts';
import { Scheduler } from './scheduler.ts';
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

function setUp(clock = { now: () => 0 }) {
  const scheduler = new Scheduler(engineConfig({ maxNumSeqs: 2 }));
  const { executor, steps } = manualExecutor();
  scheduler.reset(executor);
  const request = new Request(toyRequest('a', 3), 0);
  scheduler.add(request);
  return { core: new EngineCore(scheduler, executor, clock, () => {}), steps, request };
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

  it('plans nothing behind a long step, so that a client who leaves is not computed for', async () => {
    let nowMs = 0;
    const { core, steps } = setUp({ now: () => nowMs });
    core.step();
    for (const [i, [takesMs, numUnderWay]] of [
      [10, 2],
      [400, 1],
      [10, 1],
      [10, 2],
    ].entries()) {
      nowMs += takesMs ?? 0;
      steps[i]?.resolve([row(10 + i)]);
      await turn();
      core.step();
      expect(core.stepsUnderWay, `after a step of ${takesMs} ms`).toHaveLength(numUnderWay ?? 0);
    }
  });

  it('calls the executor lost when an answer has the wrong number of rows', async () => {
    const { core, steps } = setUp();
    core.step();
    steps[0]?.resolve([]);
    await turn();
    expect(core.step().lost).toMatchObject({ code: 'ERR_EXECUTOR_LOST' });
  });
});
