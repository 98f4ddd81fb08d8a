import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { MessageBus } from '@skein/message-bus';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ActorDeath, type ActorHandle, watchActor } from './actor-handle.ts';
import { ActorProcess, type ActorProcessOptions } from './actor-process.ts';
import { ActorCallError, ActorDiedError, ActorUnavailableError, RemoteError } from './errors.ts';
import { type HostedActor, hostActor } from './host-actor.ts';
import { Counter, CounterState } from './testing/counter.ts';

export interface Place extends AsyncDisposable {
  connect(name: string): Promise<MessageBus>;
  /** How another process joins. */
  readonly address: Pick<ActorProcessOptions, 'bus' | 'groupKey'>;
}

const SUBJECT = 'test.counter';
const PROCESS = fileURLToPath(new URL('testing/counter-process.ts', import.meta.url));

/** What every bus must give an actor. */
export function actorCases(start: () => Promise<Place>): void {
  let place: Place;
  let caller: MessageBus;
  let counter: ActorHandle<typeof Counter.methods>;
  let state: CounterState;
  const stack: (() => unknown)[] = [];

  beforeEach(async () => {
    place = await start();
    caller = await place.connect('caller');
    counter = Counter.handle(caller, SUBJECT);
    state = new CounterState();
    stack.push(
      () => place[Symbol.asyncDispose](),
      () => caller.close(),
    );
  });

  afterEach(async () => {
    for (const end of stack.splice(0).toReversed()) await end();
  });

  async function host(options = {}): Promise<HostedActor> {
    const bus = await place.connect('host');
    stack.push(() => bus.close());
    const hosted = hostActor(bus, SUBJECT, Counter, state, options);
    await bus.flush();
    return hosted;
  }

  function spawn(options: Partial<ActorProcessOptions> = {}): ActorProcess {
    const child = new ActorProcess(PROCESS, { name: 'child', ...place.address, ...options });
    stack.push(() => child[Symbol.asyncDispose]());
    return child;
  }

  /** Calls until somebody hosts the actor. */
  async function hostedPid(): Promise<number> {
    for (;;) {
      const pid = await counter.pid
        .options({ deadlineMs: 1000 })
        .remote({})
        .then(
          (value) => value,
          () => null,
        );
      if (pid !== null) return pid;
      await delay(20);
    }
  }

  test('calls run one after another, in the order they were made', async () => {
    await host();
    const refs = [
      counter.addLater.remote({ amount: 1 }),
      counter.add.remote({ amount: 2 }),
      counter.add.remote({ amount: 3 }),
    ];
    await state.open();
    expect(await Promise.all(refs)).toEqual([1, 3, 6]);
    expect(state.added).toEqual([1, 2, 3]);
  });

  test('a method named concurrent passes a busy mailbox', async () => {
    await host({ concurrent: ['open'] });
    const later = counter.addLater.remote({ amount: 5 });
    await counter.open.remote({});
    expect(await later).toBe(5);
  });

  test('what a method throws arrives with code, message and details, even a code the bus itself uses', async () => {
    await host();
    for (const code of ['ERR_NO_BLOCKS', 'ERR_NO_RESPONDER', 'ERR_DEADLINE']) {
      const error: unknown = await counter.fail.remote({ code, left: 3 }).then(null, (reason: unknown) => reason);
      expect(error).toBeInstanceOf(RemoteError);
      expect(error).toMatchObject({ code, message: '3 left', details: { left: 3 } });
    }
  });

  test('arguments and results are held to the class on both sides', async () => {
    await host();
    await expect(counter.add.remote({ amount: 0.5 })).rejects.toMatchObject({ code: 'ERR_ACTOR_CALL' });
    await expect(counter.misanswer.remote({})).rejects.toMatchObject({ code: 'ERR_ACTOR_RESULT' });
    await expect(caller.request(`${SUBJECT}.add`, { amount: 'x' }, { deadlineMs: 5000 })).rejects.toMatchObject({
      code: 'ERR_ACTOR_CALL',
    });
    expect(state.added).toEqual([]);
  });

  test('a direct call says what to write instead', () => {
    expect(() => (counter.add as unknown as (argument: object) => void)({ amount: 1 })).toThrow(
      'Counter.add() runs elsewhere: call add.remote()',
    );
  });

  test('a full mailbox refuses the next call with its size', async () => {
    await host({ mailboxMax: 2 });
    const waiting = [counter.addLater.remote({ amount: 1 }), counter.add.remote({ amount: 1 })];
    await expect(counter.add.remote({ amount: 1 })).rejects.toMatchObject({
      code: 'ERR_ACTOR_BUSY',
      message: expect.stringContaining('2 calls waiting'),
    });
    await state.open();
    expect(await Promise.all(waiting)).toEqual([1, 2]);
    expect(await counter.add.remote({ amount: 1 })).toBe(3);
  });

  test('cancelling aborts the method over there, and a call that waits never starts', async () => {
    await host();
    const running = counter.forever.remote({});
    const waiting = counter.add.remote({ amount: 1 });
    await caller.flush();
    waiting.cancel();
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_ACTOR_CANCELLED' });
    running.cancel();
    await expect(running).rejects.toBeInstanceOf(ActorCallError);
    expect(await counter.add.remote({ amount: 7 })).toBe(7);
    expect(state).toMatchObject({ cancelled: 1, added: [7] });
  });

  test('a reference that nobody awaits is no unhandled rejection', async () => {
    counter.add.remote({ amount: 1 });
    await expect(counter.add.remote({ amount: 1 })).rejects.toBeInstanceOf(ActorDiedError);
  });

  test('no host means died; no answer in time means unavailable', async () => {
    await expect(counter.add.remote({ amount: 1 })).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
    await host();
    const late = counter.forever.options({ deadlineMs: 50 }).remote({});
    await expect(late).rejects.toBeInstanceOf(ActorUnavailableError);
  });

  test('a closed actor is told to watchers as left, and takes no more calls', async () => {
    const deaths: ActorDeath[] = [];
    stack.push(watchActor(caller, SUBJECT, (death) => deaths.push(death)));
    await caller.flush();
    const hosted = await host();
    await expect.poll(async () => counter.add.remote({ amount: 1 }).then((n) => n)).toBeGreaterThan(0);
    hosted.close();
    await expect.poll(() => deaths).toEqual([{ reason: 'left' }]);
    await expect(counter.add.remote({ amount: 1 })).rejects.toBeInstanceOf(ActorDiedError);
  });

  test('kill -9 of the process that hosts it is told to watchers, to its parent, and to the next caller', async () => {
    const deaths: ActorDeath[] = [];
    const ends: string[] = [];
    stack.push(watchActor(caller, SUBJECT, (death) => deaths.push(death)));
    const child = spawn({ onDeath: (reason) => ends.push(reason) });
    await child.ready;
    expect(await counter.pid.remote({})).toBe(child.pid);
    child.kill('SIGKILL');
    await expect.poll(() => ends, { timeout: 2000 }).toEqual(['was killed by SIGKILL']);
    await expect(counter.add.options({ deadlineMs: 1000 }).remote({ amount: 1 })).rejects.toMatchObject({
      code: 'ERR_ACTOR_DIED',
    });
    await expect.poll(() => deaths, { timeout: 8000 }).toEqual([{ reason: 'expired' }]);
  }, 20_000);

  test('a process that dies before it hosts anything says so', async () => {
    const child = spawn();
    child.kill('SIGKILL');
    await expect(child.ready).rejects.toMatchObject({
      code: 'ERR_ACTOR_DIED',
      message: 'the process child was killed by SIGKILL',
    });
  });

  test('maxRestarts starts it again as a new incarnation, without its state, and then no more', async () => {
    const ends: string[] = [];
    const child = spawn({ maxRestarts: 1, onDeath: (reason) => ends.push(reason) });
    const first = await hostedPid();
    await counter.add.remote({ amount: 40 });
    process.kill(first, 'SIGKILL');
    await expect.poll(hostedPid, { timeout: 8000 }).not.toBe(first);
    expect(await counter.add.remote({ amount: 2 })).toBe(2);
    child.kill('SIGKILL');
    await expect.poll(() => ends, { timeout: 2000 }).toHaveLength(1);
  }, 20_000);
}
