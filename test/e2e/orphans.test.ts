import { describe, expect, test } from 'vitest';
import { alive, descendants, freePort, Launched, until, untilReady } from '../support/cluster.ts';

/** npm start, and one of the processes that a person may kill. */
async function startAndKill(pick: (npm: number) => number, signal: NodeJS.Signals): Promise<void> {
  const port = await freePort();
  const npm = new Launched('npm', ['start', '--', '--port', String(port)]);
  await untilReady(`http://127.0.0.1:${port}`, npm, 300_000);
  const ours = descendants(npm.pid);
  expect(ours.filter((p) => /rank-process/.test(p.command)).length).toBeGreaterThanOrEqual(2);
  process.kill(pick(npm.pid), signal);
  await until('every process to be gone', 5000, () => ours.every((p) => !alive(p.pid)));
}

const childOf = (npm: number): number => descendants(npm).find((p) => p.ppid === npm)?.pid ?? NaN;
const skeinUp = (npm: number): number => descendants(npm).find((p) => /main\.[jt]s up/.test(p.command))?.pid ?? NaN;

test('a second npm start is ready in under 5 s', async () => {
  const port = await freePort();
  const startMs = performance.now();
  await using npm = new Launched('npm', ['start', '--', '--port', String(port)]);
  await untilReady(`http://127.0.0.1:${port}`, npm, 300_000);
  const first = performance.now() - startMs;
  expect(first).toBeGreaterThan(0);
  await npm[Symbol.asyncDispose]();
  const againMs = performance.now();
  await using again = new Launched('npm', ['start', '--', '--port', String(port)]);
  await untilReady(`http://127.0.0.1:${port}`, again, 60_000);
  expect(performance.now() - againMs).toBeLessThan(5000);
}, 400_000);

/** `KILL_ROUNDS=20 npm test -- test/e2e/orphans.test.ts` repeats every kill. */
const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 1);

describe.each(Array.from({ length: ROUNDS }, (_, i) => i + 1))('no process is left, round %i, after', () => {
  test('kill -9 of npm', () => startAndKill((npm) => npm, 'SIGKILL'), 320_000);
  test('kill -9 of what npm started, its shell', () => startAndKill(childOf, 'SIGKILL'), 320_000);
  test('kill -9 of skein up', () => startAndKill(skeinUp, 'SIGKILL'), 320_000);
  test('Ctrl-C', () => startAndKill(skeinUp, 'SIGINT'), 320_000);
});
