import { Metrics } from '@skein/telemetry';
import { expect, test } from 'vitest';
import type { RankStatus } from '../rank/rank-actor.ts';
import { memberOf } from '../testing/member.ts';
import { JOINING } from '../testing/rank-status.ts';
import { ExpertLoads } from './expert-loads.ts';
import { GroupMetrics } from './group-metrics.ts';
import type { Member } from './membership.ts';

function status(epoch: number, pairs: RankStatus['pairs']): RankStatus {
  return { ...JOINING, state: 'ready', stateSeconds: 1, pairs, epoch };
}

test('bytes add up over ranks and epochs, each once, and a rank that is silent holds no scrape up', async () => {
  const metrics = new Metrics();
  const members = [memberOf(0), memberOf(1), memberOf(2)];
  const current = { epoch: 1, members };
  let answers: (Promise<RankStatus | null> | RankStatus)[] = [];
  const formation = { current, status: async ({ advert }: Member) => answers[advert.workerIndex] ?? null };
  const group = new GroupMetrics(metrics, [formation], new ExpertLoads(metrics));
  const scrape = async (): Promise<string> => {
    await group.scrape([{ numFreeBlocks: 5, numCachedBlocks: 3, numUsedBlocks: 2 }]);
    return metrics.text();
  };
  const series = (text: string, name: string): number => Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1]);
  const shm = 'skein_transport_bytes_total\\{transport="shm"\\}';
  const tcp = 'skein_transport_bytes_total\\{transport="tcp"\\}';

  expect(await metrics.text()).toContain('skein_transport_messages_total{transport="tcp"} 0');
  const silent = new Promise<null>(() => {});
  answers = [
    status(1, [{ peer: 'stage-1', transport: 'shm', bytes: 100, messages: 2 }]),
    status(1, [{ peer: 'stage-2', transport: 'tcp', bytes: 7, messages: 1 }]),
    silent,
  ];
  await scrape();
  answers[0] = status(1, [{ peer: 'stage-1', transport: 'shm', bytes: 150, messages: 3 }]);
  let text = await scrape();
  expect([series(text, shm), series(text, tcp), series(text, 'skein_group_epoch')]).toEqual([150, 7, 1]);

  current.epoch = 2;
  answers = [
    status(2, [{ peer: 'stage-1', transport: 'shm', bytes: 30, messages: 1 }]),
    // Sent before the new epoch began here.
    status(1, [{ peer: 'stage-2', transport: 'tcp', bytes: 9, messages: 2 }]),
    silent,
  ];
  text = await scrape();
  expect([series(text, shm), series(text, tcp), series(text, 'skein_group_epoch')]).toEqual([180, 7, 2]);
  expect(text).toContain('skein_transport_messages_total{transport="shm"} 4');
  expect(text).toContain('skein_kv_blocks{state="cached"} 3');
  // A model without experts has no series of them.
  expect(text).not.toContain('skein_expert');
});
