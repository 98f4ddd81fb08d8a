import type { ActorImplementation } from '@skein/actor';
import type { MessageBus } from '@skein/message-bus';
import { SkeinError } from '@skein/protocol';
import type { DirectLink } from './direct-link.ts';
import { executePlan } from './execute-plan.ts';
import { PlanReceiver } from './plan-receiver.ts';
import type { RankActor } from './rank-actor.ts';
import type { StageRunner } from './stage-runner.ts';

export interface RankServiceOptions {
  readonly main: MessageBus;
  readonly link: Pick<DirectLink, 'to'>;
  readonly group: string;
  readonly runner: Pick<StageRunner, 'load' | 'openReceive' | 'openSend' | 'begin' | 'run' | 'abort' | 'status'>;
}

/** What a rank does for its leader. Epochs only grow, also over leaders: `abort` begins one, and a call that names any other
 *  than the latest is refused. So is one during which a newer epoch began: its leader must not count on what it did. */
export function rankService({
  main,
  link,
  group,
  runner,
}: RankServiceOptions): ActorImplementation<typeof RankActor.methods> {
  let current = 0;
  let life = new AbortController();
  let place = { stage: 0, answers: true };
  let receiver: PlanReceiver | null = null;
  const stale = (epoch: number): SkeinError =>
    new SkeinError('ERR_STALE_EPOCH', `epoch ${epoch} is refused: this rank is at epoch ${current}`, {
      details: { epoch, current },
    });
  const check = (epoch: number): void => {
    if (epoch !== current) throw stale(epoch);
  };

  return {
    load: async ({ epoch, spec }) => {
      check(epoch);
      const loaded = await runner.load(spec);
      check(epoch);
      // All ranks of the last stage have the same answer.
      place = { stage: spec.stage, answers: spec.stage === spec.stages - 1 && spec.tensor.rank === 0 };
      return loaded;
    },
    openReceive: async ({ epoch, channels }) => {
      check(epoch);
      return runner.openReceive(channels);
    },
    openSend: async ({ epoch, channels }) => {
      check(epoch);
      await runner.openSend(channels);
      check(epoch);
      return null;
    },
    begin: async ({ epoch, replica, threads, direct: address }) => {
      check(epoch);
      const direct = await link.to(address, life.signal);
      check(epoch);
      await runner.begin(threads);
      check(epoch);
      receiver?.[Symbol.dispose]();
      const here = place;
      receiver = new PlanReceiver({
        main,
        direct,
        group,
        replica,
        epoch,
        execute: (plan) => executePlan((input, deadlineMs) => runner.run(input, deadlineMs), plan, here),
      });
      return null;
    },
    abort: async ({ epoch, reason }) => {
      if (epoch <= current) throw stale(epoch);
      current = epoch;
      life.abort(new SkeinError('ERR_STALE_EPOCH', reason));
      life = new AbortController();
      receiver?.[Symbol.dispose]();
      receiver = null;
      runner.abort(reason);
      return null;
    },
    status: async () => ({ ...runner.status(), epoch: current }),
  };
}
