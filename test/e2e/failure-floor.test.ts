import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { alive, client, descendants, type Launched, type Served, topology, until, up } from '../support/cluster.ts';

const LONG = [{ role: 'user' as const, content: 'Count from 1 to 100.' }];
/** `KILL_ROUNDS=20 npm test -- --only e2e` repeats every kill. */
const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 1);

interface Outcome {
  readonly text: string;
  readonly end: 'stop' | 'length' | 'error' | 'closed';
  readonly seconds: number;
}

/** Streams a long answer; `onText` is called as text arrives. */
async function stream(url: string, onText: (text: string) => void = () => {}): Promise<Outcome> {
  const startMs = performance.now();
  let text = '';
  let end: Outcome['end'] = 'closed';
  try {
    const chunks = await client(url).chat.completions.create({
      model: 'tiny-chat',
      messages: LONG,
      stream: true,
      max_tokens: 400,
      temperature: 0,
    });
    for await (const chunk of chunks) {
      text += chunk.choices[0]?.delta.content ?? '';
      const reason = chunk.choices[0]?.finish_reason;
      if (reason === 'stop' || reason === 'length') end = reason;
      onText(text);
    }
  } catch (error) {
    end = error instanceof Error && /terminated|ECONN|socket|Connection/i.test(error.message) ? 'closed' : 'error';
  }
  return { text, end, seconds: (performance.now() - startMs) / 1000 };
}

function find(cluster: Served, pattern: RegExp): number[] {
  return descendants(cluster.process.pid)
    .filter((p) => pattern.test(p.command))
    .map((p) => p.pid);
}

/** Kills (or freezes) in mid-stream; says when the stream ended after that. */
async function killInStream(
  cluster: Served,
  pids: () => number[] | Promise<number[]>,
  signal: 'SIGKILL' | 'SIGSTOP' = 'SIGKILL',
): Promise<Outcome & { readonly afterKillSeconds: number }> {
  let killedMs = 0;
  const outcome = await stream(cluster.url, (text) => {
    if (killedMs > 0 || text.length < 20) return;
    killedMs = performance.now();
    void Promise.resolve(pids()).then((list) => list.forEach((pid) => process.kill(pid, signal)));
  });
  return { ...outcome, afterKillSeconds: (performance.now() - killedMs) / 1000 };
}

describe.each(Array.from({ length: ROUNDS }, (_, i) => i + 1))('after a kill -9, round %i', () => {
  let cluster: Served;
  let whole: Outcome;
  beforeAll(async () => {
    cluster = await up(['--pp', '2']);
    whole = await stream(cluster.url);
    expect(whole.end).toBe('stop');
  }, 90_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  async function recovers(): Promise<void> {
    let again: Outcome | null = null;
    await until('the next request to succeed', 10_000, async () => {
      again = await stream(cluster.url);
      return again.end === 'stop';
    });
    expect(again).toMatchObject({ text: whole.text });
  }

  test.each([0, 1])(
    'of rank %i the stream goes on, byte for byte',
    async (stage) => {
      const killed = await killInStream(cluster, async () => [
        (await topology(cluster.url)).groups[0]?.ranks[stage]?.pid ?? 0,
      ]);
      expect(killed).toMatchObject({ end: 'stop', text: whole.text });
      expect(killed.afterKillSeconds).toBeLessThan(5);
      await recovers();
    },
    60_000,
  );

  test('of the worker agent the stream ends or goes on within 5 s, and the group re-forms', async () => {
    const killed = await killInStream(cluster, async () => [
      (await topology(cluster.url)).groups[0]?.agents.find((a) => a.workerIndex === 1)?.pid ?? 0,
    ]);
    expect(killed.afterKillSeconds).toBeLessThan(5);
    if (killed.end === 'stop') expect(killed.text).toBe(whole.text);
    else expect(killed.end).toBe('error');
    await recovers();
  }, 60_000);

  test('of the leader agent the client gets one error within 5 s, and the group re-forms', async () => {
    const killed = await killInStream(cluster, async () => [
      (await topology(cluster.url)).groups[0]?.agents.find((a) => a.workerIndex === 0)?.pid ?? 0,
    ]);
    expect(killed.afterKillSeconds).toBeLessThan(5);
    expect(killed.end).toBe('error');
    await recovers();
  }, 60_000);

  test('of the broker no running stream ends', async () => {
    const killed = await killInStream(cluster, () => find(cluster, /^\S*nats-server /));
    expect(killed).toMatchObject({ end: 'stop', text: whole.text });
    await recovers();
  }, 60_000);

  test('of the router the connection closes, the work stops, and a new router serves', async () => {
    const leader = (await topology(cluster.url)).groups[0]?.url ?? '';
    const killed = await killInStream(cluster, () => find(cluster, /main\.[jt]s router /));
    expect(killed.afterKillSeconds).toBeLessThan(5);
    expect(['closed', 'error']).toContain(killed.end);
    await until('the orphaned request to be dropped', 1000, async () =>
      /^vllm:num_requests_running\S* 0$/m.test(await (await fetch(`${leader}/metrics`)).text()),
    );
    await recovers();
  }, 60_000);
});

describe('a frozen process', () => {
  let cluster: Served;
  let whole: Outcome;
  beforeAll(async () => {
    cluster = await up(['--pp', '2']);
    whole = await stream(cluster.url);
  }, 90_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  test('a rank is replaced, and the stream goes on, byte for byte', async () => {
    const rankPid = async (): Promise<number> => (await topology(cluster.url)).groups[0]?.ranks[1]?.pid ?? 0;
    const frozen = await rankPid();
    const outcome = await killInStream(cluster, () => [frozen], 'SIGSTOP');
    expect(outcome).toMatchObject({ end: 'stop', text: whole.text });
    expect(outcome.afterKillSeconds).toBeLessThan(15);
    expect(alive(frozen)).toBe(false);
    expect(await rankPid()).not.toBe(frozen);
  }, 60_000);

  test('a leader holds no client: one error, and it serves again when it wakes', async () => {
    const [group] = (await topology(cluster.url)).groups;
    const pid = group?.agents.find((a) => a.workerIndex === 0)?.pid ?? 0;
    const outcome = await killInStream(cluster, () => [pid], 'SIGSTOP');
    expect(outcome.end).toBe('error');
    expect(outcome.afterKillSeconds).toBeLessThan(10);
    expect((await fetch(`${cluster.url}/readyz`)).status).toBe(503);
    process.kill(pid, 'SIGCONT');
    await until('the group to serve again', 15_000, async () => (await stream(cluster.url)).text === whole.text);
  }, 60_000);
});

test('SIGTERM lets a running stream finish and ends every process', async () => {
  const cluster = await up(['--pp', '2']);
  const ours = descendants(cluster.process.pid).map((p) => p.pid);
  let stopped: Promise<number | null> = Promise.resolve(null);
  let asked = false;
  const outcome = await stream(cluster.url, (text) => {
    if (asked || text.length < 20) return;
    asked = true;
    stopped = endOf(cluster.process);
  });
  expect(outcome.end).toBe('stop');
  expect(await stopped).toBe(0);
  await until('all processes to be gone', 5000, () => ours.every((pid) => descendants(pid).length === 0));
}, 60_000);

function endOf(process: Launched): Promise<number | null> {
  process.child.kill('SIGTERM');
  return process.exit();
}
