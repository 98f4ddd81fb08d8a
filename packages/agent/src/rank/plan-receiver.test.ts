import { type LocalHub, type MessageBus, startLocalHub } from '@skein/message-bus';
import { newIdentity, type StepPlan, type StepResult, stepResultSchema, subjects } from '@skein/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { outputBytes, planBytes } from '../testing/step-words.ts';
import { PlanReceiver } from './plan-receiver.ts';

const EPOCH = 3;
let hubs: LocalHub[];
let leader: MessageBus;
let directLeader: MessageBus;
let receiver: PlanReceiver;
let ran: number[];
let answers: { readonly by: 'main' | 'direct'; readonly result: StepResult }[];
let output: Uint8Array;
/** Steps whose end waits for `release`. */
let held: Map<number, () => void>;
let holds: Set<number>;

beforeEach(async () => {
  hubs = await Promise.all([
    startLocalHub({ listen: null, groupKey: null }),
    startLocalHub({ listen: null, groupKey: null, frameBytesMax: 100_000 }),
  ]);
  const [mainHub, directHub] = hubs;
  if (!mainHub || !directHub) throw new Error('no hubs');
  leader = mainHub.connect(newIdentity('leader'));
  directLeader = directHub.connect(newIdentity('leader'));
  ran = [];
  answers = [];
  output = outputBytes([1]);
  held = new Map();
  holds = new Set();
  for (const [by, bus] of [
    ['main', leader],
    ['direct', directLeader],
  ] as const) {
    bus.subscribe(subjects.results('g', 0), ({ data }) => answers.push({ by, result: stepResultSchema.parse(data) }));
  }
  receiver = new PlanReceiver({
    main: mainHub.connect(newIdentity('rank')),
    direct: directHub.connect(newIdentity('rank')),
    group: 'g',
    replica: 0,
    epoch: EPOCH,
    execute,
  });
});

afterEach(async () => {
  receiver[Symbol.dispose]();
  await Promise.all(hubs.map((hub) => hub.close()));
});

async function execute({ epoch, step }: StepPlan): Promise<StepResult> {
  ran.push(step);
  if (holds.has(step)) await new Promise<void>((resolve) => held.set(step, resolve));
  return { epoch, step, stage: 1, computeUs: 0, waitUs: 0, output, error: null };
}

function plan(step: number, epoch = EPOCH): StepPlan {
  return { epoch, step, deadlineMs: 1000, input: planBytes(step) };
}

function send(bus: MessageBus, ...steps: number[]): void {
  for (const step of steps) bus.publish(subjects.plans('g', 0), plan(step));
}

/** What was sent before has arrived, and then what was answered to it: on a hub in this process both are a flush away. */
async function arrived(): Promise<void> {
  for (const _ of ['plans', 'answers']) {
    await leader.flush();
    await directLeader.flush();
  }
}

test('steps run in order, whatever order and way they come', async () => {
  send(leader, 2, 1);
  send(directLeader, 3);
  await arrived();
  expect(ran).toEqual([]);
  send(leader, 0);
  await expect.poll(() => answers.map(({ result }) => result.step)).toEqual([0, 1, 2, 3]);
  expect(ran).toEqual([0, 1, 2, 3]);
  expect(answers.every(({ by }) => by === 'main')).toBe(true);
});

test('a step that comes twice runs once, and is answered again on the direct link', async () => {
  send(leader, 0);
  await expect.poll(() => answers.length).toBe(1);
  send(directLeader, 0);
  await expect.poll(() => answers.map(({ by, result }) => `${by} ${result.step}`)).toEqual(['main 0', 'direct 0']);
  expect(ran).toEqual([0]);
});

test('a step that comes again while it runs is answered once', async () => {
  holds.add(0);
  send(leader, 0);
  await expect.poll(() => held.has(0)).toBe(true);
  send(directLeader, 0);
  await arrived();
  held.get(0)?.();
  await expect.poll(() => answers.length).toBe(1);
  expect(ran).toEqual([0]);
});

test('what lies too far ahead of a gap is not kept', async () => {
  send(leader, 64, 63);
  await arrived();
  send(leader, ...Array.from({ length: 63 }, (_, i) => i));
  await expect.poll(() => ran.length).toBe(64);
  await arrived();
  expect(ran).not.toContain(64);
});

test('plans of another epoch, and what is no plan, are let be', async () => {
  leader.publish(subjects.plans('g', 0), plan(0, EPOCH - 1));
  leader.publish(subjects.plans('g', 0), plan(0, EPOCH + 1));
  leader.publish(subjects.plans('g', 0), { ...plan(0), input: 'text' });
  await arrived();
  expect(ran).toEqual([]);
});

test('an epoch that has ended takes no plan and answers none, not even one under way', async () => {
  holds.add(0);
  send(leader, 0);
  await expect.poll(() => held.has(0)).toBe(true);
  receiver[Symbol.dispose]();
  held.get(0)?.();
  send(leader, 1);
  send(directLeader, 0);
  await arrived();
  expect(ran).toEqual([0]);
  expect(answers).toEqual([]);
});

test('an output that no link takes becomes an error with its size', async () => {
  output = new Uint8Array(200_000);
  send(leader, 0);
  await expect
    .poll(() => answers[0]?.result)
    .toMatchObject({
      output: null,
      error: { code: 'ERR_MESSAGE_TOO_LARGE', message: expect.stringContaining('200256 bytes') },
    });
});

test('while the broker is away results take the direct link', async () => {
  holds.add(0);
  send(leader, 0);
  await expect.poll(() => held.has(0)).toBe(true);
  await hubs[0]?.close();
  held.get(0)?.();
  await expect.poll(() => answers.map(({ by }) => by)).toEqual(['direct']);
});
