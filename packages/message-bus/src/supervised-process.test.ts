import { type ChildProcess, spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import { type ProcessEnd, RestartPause, SupervisedProcess } from './supervised-process.ts';
import { until } from './testing/until.ts';

const sleeper = (): ChildProcess => spawn('sleep', ['60'], { stdio: 'ignore' });

test('pauses grow while lives are short, up to 5 s, and none follows a settled one', () => {
  const pause = new RestartPause();
  expect([0, 0, 0, 0, 0, 0, 0].map((livedMs) => pause.next(livedMs))).toEqual([100, 300, 700, 1500, 3100, 5000, 5000]);
  expect(pause.next(10_001)).toBe(0);
  expect(pause.next(0)).toBe(100);
});

test('it is started again as long as its owner wants, with why it ended', async () => {
  const ends: ProcessEnd[] = [];
  const started: ChildProcess[] = [];
  const kept = new SupervisedProcess({
    start: () => {
      const child = started.length === 0 ? sleeper() : spawn('sh', ['-c', 'exit 7']);
      started.push(child);
      return child;
    },
    onEnd: (end) => ends.push(end) < 2,
    graceMs: 1000,
  });
  expect(kept.pid).toBe(started[0]?.pid);
  started[0]?.kill('SIGKILL');
  await until('the second has ended', () => ends.length === 2);
  expect(ends).toEqual([
    { reason: 'was killed by SIGKILL', exitCode: null, restartMs: 100 },
    { reason: 'exited with 7', exitCode: 7, restartMs: 300 },
  ]);
  expect(kept.pid).toBeNull();
  await kept.close();
  expect(started).toHaveLength(2);
});

test('a program that cannot be started is an end too', async () => {
  const ends: string[] = [];
  const kept = new SupervisedProcess({
    start: () => spawn('/nowhere/program'),
    onEnd: ({ reason }) => ends.push(reason) < 2,
    graceMs: 1000,
  });
  await until('twice', () => ends.length === 2);
  expect(ends[1]).toMatch(/^could not be started: .*ENOENT/);
  await kept.close();
});

test('close ends it, by force when it does not listen, and says nothing', async () => {
  const ends: ProcessEnd[] = [];
  let child: ChildProcess | null = null;
  const kept = new SupervisedProcess({
    start: () => (child = spawn('sh', ['-c', 'trap "" TERM; echo; sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })),
    onEnd: (end) => ends.push(end) > 0,
    graceMs: 50,
  });
  const { promise: listening, resolve } = Promise.withResolvers<unknown>();
  (child as ChildProcess | null)?.stdout?.once('data', resolve);
  await listening;
  await kept.close();
  expect((child as ChildProcess | null)?.signalCode).toBe('SIGKILL');
  expect(kept).toMatchObject({ isClosed: true, pid: null });
  expect(ends).toEqual([]);
});
