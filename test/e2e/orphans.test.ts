import { expect, test } from 'vitest';
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

const skeinUp = (npm: number): number => descendants(npm).find((p) => /main\.ts up/.test(p.command))?.pid ?? 0;

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

test('kill -9 of npm leaves no process', () => startAndKill((npm) => npm, 'SIGKILL'), 320_000);
test('kill -9 of skein up leaves no process', () => startAndKill(skeinUp, 'SIGKILL'), 320_000);
test('Ctrl-C ends every process', () => startAndKill(skeinUp, 'SIGINT'), 320_000);
