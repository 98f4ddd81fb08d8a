import { connectBus, type MessageBus } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ActorHandle } from './actor-handle.ts';
import { watchActor } from './actor-watch.ts';
import { ActorCallError, type ActorDeath, ActorDiedError, ActorUnavailableError, RemoteError } from './errors.ts';
import { type HostedActor, hostActor } from './host-actor.ts';
import { Counter, CounterState } from './testing/counter.ts';
import type { Place } from './testing/place.ts';

const SUBJECT = 'test.counter';

/** What every bus must give an actor hosted in any process. */
export function actorCases(start: () => Promise<Place>): void {
  let place: Place;
  let caller: MessageBus;
  let counter: ActorHandle<typeof Counter.methods>;
  let state: CounterState;
  const stack: (() => unknown)[] = [];

  beforeEach(async () => {
    place = await start();
    stack.push(() => place[Symbol.asyncDispose]());
    caller = await connect('caller');
    counter = Counter.handle(caller, SUBJECT);
    state = new CounterState();
  });

  afterEach(async () => {
    for (const end of stack.splice(0).toReversed()) await end();
  });

  async function connect(name: string): Promise<MessageBus> {
    const bus = await connectBus(place.target, { identity: newIdentity(name), deadlineMs: 5000 });
    stack.push(() => bus.close());
    return bus;
  }

  async function host(options = {}): Promise<HostedActor & { readonly bus: MessageBus }> {
    const bus = await connect('host');
    const hosted = hostActor(bus, SUBJECT, Counter, state, options);
    await bus.flush();
    return { ...hosted, bus };
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
    await expect.poll(() => state.waiting).toBe(1);
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

  test('a stream method gives its items in order, held to the class, and its end', async () => {
    await host();
    const seen: number[] = [];
    for await (const value of counter.upTo.remote({ end: 300 })) seen.push(value);
    expect(seen).toEqual(Array.from({ length: 300 }, (_, value) => value));
    await expect(drain(counter.misstream.remote({}))).rejects.toMatchObject({ code: 'ERR_ACTOR_RESULT' });
    await expect(drain(counter.upTo.remote({ end: 0.5 }))).rejects.toMatchObject({ code: 'ERR_ACTOR_CALL' });
  });

  test('the reader sets the pace of a stream, and ends it by leaving; calls pass meanwhile', async () => {
    await host();
    for await (const value of counter.upTo.options({ credit: 4 }).remote({ end: null })) {
      expect(await counter.add.remote({ amount: 1 })).toBe(value + 1);
      // What was taken, what may be ahead of it, and one that waits for credit.
      expect(state.produced).toBeLessThanOrEqual(value + 1 + 4 + 1);
      if (value === 20) break;
    }
    await expect.poll(() => state.ended).toBe(1);
  });

  test('handles made for one call each watch their actor together', async () => {
    await host();
    await counter.add.remote({ amount: 0 });
    const { framesSent } = caller.counters;
    for (let n = 1; n <= 20; n++) expect(await Counter.handle(caller, SUBJECT).add.remote({ amount: 1 })).toBe(n);
    expect(caller.counters.framesSent - framesSent).toBe(20);
  });

  test('a closed actor is told to watchers, and ends all that is open at once', async () => {
    const deaths: ActorDeath[] = [];
    stack.push(watchActor(caller, SUBJECT, (death) => deaths.push(death)));
    const hosted = await host();
    const other = await connect('other');
    const open = [
      counter.forever.remote({}),
      counter.add.remote({ amount: 1 }),
      Counter.handle(other, SUBJECT).forever.remote({}),
    ];
    const items = counter.upTo.remote({ end: null })[Symbol.asyncIterator]();
    expect(await items.next()).toEqual({ value: 0, done: false });
    await expect.poll(() => state.waiting).toBe(1);
    await other.flush();
    hosted.close();
    const { name, incarnation } = hosted.bus.identity;
    const died = { code: 'ERR_ACTOR_DIED', details: { name, incarnation, cause: 'was closed by its host' } };
    for (const ref of open) await expect(ref).rejects.toMatchObject(died);
    await expect(drain({ [Symbol.asyncIterator]: () => items })).rejects.toMatchObject(died);
    await expect(counter.add.remote({ amount: 1 })).rejects.toBeInstanceOf(ActorDiedError);
    expect(deaths).toEqual([{ identity: hosted.bus.identity, cause: 'was closed by its host', restarts: null }]);
  });

  test('a call with retries finds the actor that comes later, once for each retry', async () => {
    const retried = counter.add.options({ maxTaskRetries: 1 }).remote({ amount: 1 });
    const never = counter.add.options({ maxTaskRetries: 1, deadlineMs: 300 }).remote({ amount: 1 });
    await expect(never).rejects.toBeInstanceOf(ActorDiedError);
    const first = await host();
    expect(await retried).toBe(1);
    const again = counter.forever.options({ maxTaskRetries: 1 }).remote({});
    await expect.poll(() => state.waiting).toBe(1);
    first.close();
    const second = await host();
    await expect.poll(() => state.waiting).toBe(2);
    second.close();
    await expect(again).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
  });
}

async function drain(items: AsyncIterable<number>): Promise<number> {
  let last = -1;
  for await (const item of items) last = item;
  return last;
}
