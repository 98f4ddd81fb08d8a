import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { connectBus, type MessageBus } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ActorProcess, type ActorProcessOptions } from './actor-process.ts';
import { actorClass } from './actor-class.ts';
import type { ActorDeath } from './errors.ts';
import { getActor, kill } from './named-actor.ts';
import { Counter } from './testing/counter.ts';
import type { Place } from './testing/place.ts';

const module = new URL('testing/counter-process.ts', import.meta.url);

/** What every bus must give an actor in a process of its own. */
export function actorProcessCases(start: () => Promise<Place>): void {
  let place: Place;
  let owner: MessageBus;
  let caller: MessageBus;
  const stack: (() => unknown)[] = [];

  beforeEach(async () => {
    place = await start();
    stack.push(() => place[Symbol.asyncDispose]());
    owner = await connect('owner');
    caller = await connect('caller');
  });

  afterEach(async () => {
    for (const end of stack.splice(0).toReversed()) await end();
  });

  async function connect(name: string): Promise<MessageBus> {
    const bus = await connectBus(place.target, { identity: newIdentity(name), deadlineMs: 5000 });
    stack.push(() => bus.close());
    return bus;
  }

  async function spawn(options: Partial<ActorProcessOptions> = {}): Promise<ActorProcess<typeof Counter.methods>> {
    const all = { name: 'counter', module, bus: owner, join: place.target, ...options };
    const child = await ActorProcess.start(Counter, all);
    stack.push(() => child[Symbol.asyncDispose]());
    return child;
  }

  function killProcess(child: { readonly pid: number | null }): void {
    if (child.pid === null) throw new Error('no process runs');
    process.kill(child.pid, 'SIGKILL');
  }

  test('kill -9 ends every pending call and stream at once, for every caller, with who died and why', async () => {
    const deaths: ActorDeath[] = [];
    const child = await spawn({ onDeath: (death) => deaths.push(death) });
    const counter = await getActor(caller, Counter, 'counter');
    const items = counter.upTo.remote({ end: null })[Symbol.asyncIterator]();
    expect(await items.next()).toEqual({ value: 0, done: false });
    const open = [counter.forever.remote({}), child.handle.forever.remote({})];
    expect(await child.handle.pid.remote({})).toBe(child.pid);
    await caller.flush();
    killProcess(child);
    // By its owner's word: the lease would say that it was not heard of, seconds later.
    const died = { code: 'ERR_ACTOR_DIED', details: { name: 'counter', cause: 'was killed by SIGKILL' } };
    for (const ref of open) await expect(ref).rejects.toMatchObject(died);
    await expect(drain(items)).rejects.toMatchObject(died);
    expect(deaths).toEqual([{ identity: expect.anything(), cause: 'was killed by SIGKILL', restarts: false }]);
    await expect(counter.add.remote({ amount: 1 })).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
    await expect(getActor(caller, Counter, 'counter')).rejects.toMatchObject({ code: 'ERR_ACTOR_NOT_FOUND' });
  }, 20_000);

  test('the lease tells of a death that no owner tells', async () => {
    const parent = fork(fileURLToPath(new URL('testing/counter-parent.ts', import.meta.url)));
    const pid = Promise.withResolvers<number>();
    parent.once('message', (message) => pid.resolve(Number(message)));
    parent.send(place.target);
    await pid.promise;
    const counter = await getActor(caller, Counter, 'bound');
    expect(await counter.pid.remote({})).toBe(await pid.promise);
    const pending = counter.hang.remote({});
    await caller.flush();
    parent.kill('SIGKILL');
    // Its child hangs, and hears nothing of the parent's end.
    await expect.poll(async () => existsSync(`/proc/${await pid.promise}`), { timeout: 5000 }).toBe(false);
    await expect(pending).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED', details: { cause: 'was not heard of' } });
  }, 20_000);

  test('maxRestarts starts it again as a new incarnation, without its state, and then no more', async () => {
    const deaths: ActorDeath[] = [];
    const child = await spawn({ maxRestarts: 1, argument: 5, onDeath: (death) => deaths.push(death) });
    const counter = await getActor(caller, Counter, 'counter');
    expect(await counter.add.remote({ amount: 40 })).toBe(45);
    const lost = counter.forever.remote({});
    const retried = counter.addLater.options({ maxTaskRetries: 1 }).remote({ amount: 2 });
    const first = child.pid;
    await caller.flush();
    killProcess(child);
    await expect(lost).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
    // Between the two it has a name, and a caller without retries learns that it may try again.
    await expect(counter.add.remote({ amount: 1 })).rejects.toMatchObject({ code: 'ERR_ACTOR_UNAVAILABLE' });
    await getActor(caller, Counter, 'counter');
    await expect.poll(() => child.pid).not.toBeNull();
    // The retried call holds the mailbox of the new one until it is let on.
    expect(await counter.pid.options({ maxTaskRetries: 100 }).remote({})).not.toBe(first);
    const last = child.handle.forever.options({ maxTaskRetries: 3 }).remote({});
    killProcess(child);
    await expect(retried).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
    await expect(last).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
    expect(deaths.map(({ restarts }) => restarts)).toEqual([true, false]);
    expect(deaths[0]?.identity.incarnation).not.toBe(deaths[1]?.identity.incarnation);
    expect(child.pid).toBeNull();
  }, 30_000);

  test('kill is for good, for whoever has a handle, even when the actor hangs', async () => {
    const child = await spawn({ maxRestarts: 3 });
    const counter = await getActor(caller, Counter, 'counter');
    const hanging = counter.hang.remote({});
    const waiting = counter.add.options({ maxTaskRetries: 3 }).remote({ amount: 1 });
    await caller.flush();
    await kill(counter);
    const died = { code: 'ERR_ACTOR_DIED', details: { cause: 'was killed' } };
    await expect(hanging).rejects.toMatchObject(died);
    await expect(waiting).rejects.toMatchObject(died);
    expect(child.pid).toBeNull();
    await expect(kill(counter)).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
  }, 20_000);

  test('names are unique while they are used, and belong to one class', async () => {
    const first = await spawn();
    await expect(spawn({ bus: caller })).rejects.toMatchObject({ code: 'ERR_ACTOR_NAME' });
    const Other = actorClass('Other', {});
    await expect(getActor(caller, Other, 'counter')).rejects.toMatchObject({
      code: 'ERR_ACTOR_CLASS',
      message: 'the actor counter is a Counter, not a Other',
    });
    await expect(spawn({ name: 'a.b' })).rejects.toMatchObject({ code: 'ERR_ACTOR_NAME' });
    await first[Symbol.asyncDispose]();
    expect((await spawn()).pid).not.toBeNull();
  }, 20_000);

  test('an actor that cannot come up says why, once its restarts are used up', async () => {
    const deaths: ActorDeath[] = [];
    const starting = spawn({ argument: -1, maxRestarts: 1, onDeath: (death) => deaths.push(death) });
    await expect(starting).rejects.toMatchObject({
      code: 'ERR_ACTOR_DIED',
      details: { cause: expect.stringContaining('could not start: ') as string },
    });
    expect(deaths.map(({ restarts }) => restarts)).toEqual([true, false]);
  }, 20_000);
}

async function drain(items: AsyncIterator<number>): Promise<void> {
  while (!(await items.next()).done);
}
