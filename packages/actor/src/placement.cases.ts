import { existsSync } from 'node:fs';
import { connectBus, type MessageBus } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ActorNode } from './actor-node.ts';
import { watchActor } from './actor-watch.ts';
import { actorSubject } from './actor-wire.ts';
import { PlacementGroup } from './placement-group.ts';
import type { Resources } from './resources.ts';
import { Counter } from './testing/counter.ts';
import type { Place } from './testing/place.ts';

const modules = new Map([['Counter', new URL('testing/counter-process.ts', import.meta.url)]]);
const cpu = (n: number): Resources => ({ cpu: n, device: 0 });

/** What every bus must give placement groups. */
export function placementCases(start: () => Promise<Place>): void {
  let place: Place;
  let driver: MessageBus;
  const stack: (() => unknown)[] = [];

  beforeEach(async () => {
    place = await start();
    stack.push(() => place[Symbol.asyncDispose]());
    driver = await connect('driver');
  });

  afterEach(async () => {
    for (const end of stack.splice(0).toReversed()) await end();
  });

  async function connect(name: string): Promise<MessageBus> {
    const bus = await connectBus(place.target, { identity: newIdentity(name), deadlineMs: 5000 });
    stack.push(() => bus.close());
    return bus;
  }

  async function node(name: string, resources: Resources): Promise<void> {
    const actorNode = new ActorNode({ bus: await connect(name), join: place.target, resources, modules });
    stack.push(() => actorNode[Symbol.asyncDispose]());
  }

  test('bundles go where there is room, and an actor runs in its bundle until the group ends', async () => {
    await node('a', cpu(2));
    await node('b', { cpu: 1, device: 1 });
    const bundles = [cpu(2), { cpu: 1, device: 1 }];
    const group = await PlacementGroup.create(driver, { bundles, deadlineMs: 5000 });
    expect(group.nodes.map(({ name }) => name)).toEqual(['a', 'b']);

    const deaths: string[] = [];
    stack.push(watchActor(driver, actorSubject('one'), ({ cause }) => deaths.push(cause)));
    const counter = await group.createActor(Counter, { name: 'one', bundleIndex: 0, argument: 5, maxRestarts: 1 });
    expect(await counter.add.remote({ amount: 1 })).toBe(6);
    const pid = await counter.pid.remote({});
    process.kill(pid, 'SIGKILL');
    expect(await counter.add.options({ maxTaskRetries: 3 }).remote({ amount: 1 })).toBe(6);
    const last = await counter.pid.remote({});
    expect(last).not.toBe(pid);

    const pending = counter.forever.remote({});
    await driver.flush();
    group[Symbol.dispose]();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
    await expect.poll(() => existsSync(`/proc/${last}`)).toBe(false);
    expect(deaths).toEqual(['was killed by SIGKILL', 'was ended by its owner']);
    // What it had is free again.
    using again = await PlacementGroup.create(driver, { bundles, deadlineMs: 5000 });
    expect(again.nodes).toHaveLength(2);
  }, 30_000);

  test('actors take from their bundle, give back when they are gone, and are of a class the node knows', async () => {
    await node('a', cpu(2));
    using group = await PlacementGroup.create(driver, { bundles: [cpu(2)], deadlineMs: 5000 });
    const one = await group.createActor(Counter, { name: 'one', bundleIndex: 0, resources: cpu(2) });
    const two = { name: 'two', bundleIndex: 0 };
    await expect(group.createActor(Counter, two)).rejects.toMatchObject({
      code: 'ERR_PLACEMENT_RESOURCES',
      message: 'the actor takes {cpu: 1, device: 0}, bundle 0 has {cpu: 0, device: 0} left',
    });
    process.kill(await one.pid.remote({}), 'SIGKILL');
    await expect(one.add.remote({ amount: 1 })).rejects.toMatchObject({ code: 'ERR_ACTOR_DIED' });
    await expect(group.createActor(Counter, { ...two, argument: -1 })).rejects.toMatchObject({
      code: 'ERR_ACTOR_DIED',
    });
    const counter = await group.createActor(Counter, two);
    expect(await counter.add.remote({ amount: 1 })).toBe(1);
    await expect(group.createActor(Counter, two)).rejects.toMatchObject({ code: 'ERR_ACTOR_NAME' });
    await expect(group.createActor({ ...Counter, name: 'Other' }, two)).rejects.toMatchObject({
      code: 'ERR_ACTOR_CLASS',
    });
    await expect(group.createActor(Counter, { ...two, bundleIndex: 1 })).rejects.toMatchObject({
      code: 'ERR_PLACEMENT_BUNDLE',
    });
  }, 30_000);

  test('a group waits for nodes, and when it finds no room nothing stays reserved', async () => {
    const bundles = [cpu(1), cpu(1)];
    await expect(PlacementGroup.create(driver, { bundles: [cpu(0.5)], deadlineMs: 50 })).rejects.toMatchObject({
      code: 'ERR_PLACEMENT_BUNDLE',
    });
    await expect(PlacementGroup.create(driver, { bundles, deadlineMs: 50 })).rejects.toMatchObject({
      code: 'ERR_PLACEMENT_TIMEOUT',
      message: expect.stringContaining('there are none') as string,
    });
    await node('a', cpu(2));
    const strict = { bundles, strategy: 'STRICT_SPREAD', deadlineMs: 300 } as const;
    await expect(PlacementGroup.create(driver, strict)).rejects.toMatchObject({
      code: 'ERR_PLACEMENT_TIMEOUT',
      message: expect.stringContaining('a {cpu: 2, device: 0}') as string,
    });
    const waiting = PlacementGroup.create(driver, { ...strict, deadlineMs: 10_000 });
    await node('b', cpu(1));
    using group = await waiting;
    expect(group.nodes.map(({ name }) => name).toSorted()).toEqual(['a', 'b']);
  }, 30_000);

  test('two that want the last room: one gets it, and the other the moment it is given up', async () => {
    await node('a', cpu(1));
    await node('b', cpu(1));
    const other = await connect('other');
    const options = { bundles: [cpu(1), cpu(1)], deadlineMs: 15_000 };
    const groups = [PlacementGroup.create(driver, options), PlacementGroup.create(other, options)];
    const first = await Promise.race(groups);
    first[Symbol.dispose]();
    const both = await Promise.all(groups);
    for (const group of both) group[Symbol.dispose]();
    expect(both.every(({ nodes }) => nodes.length === 2)).toBe(true);
  }, 30_000);

  test('the bundles of a maker that is gone are free again', async () => {
    await node('a', cpu(1));
    const maker = await connect('maker');
    await PlacementGroup.create(maker, { bundles: [cpu(1)], deadlineMs: 5000 });
    await maker.close();
    using group = await PlacementGroup.create(driver, { bundles: [cpu(1)], deadlineMs: 10_000 });
    expect(group.nodes).toHaveLength(1);
  }, 30_000);
}
