import type { MessageBus } from '@skein/message-bus';
import type { z } from 'zod';
import { type ActorHandle, makeHandle } from './actor-handle.ts';

/** A method of one argument that answers once, checked on both sides. */
export interface MethodDefinition<Input extends z.ZodType = z.ZodType, Output extends z.ZodType = z.ZodType> {
  readonly kind: 'method';
  readonly input: Input;
  readonly output: Output;
}

/** A method of one argument that answers with items, each checked on both sides. */
export interface StreamMethodDefinition<Input extends z.ZodType = z.ZodType, Item extends z.ZodType = z.ZodType> {
  readonly kind: 'stream';
  readonly input: Input;
  readonly item: Item;
}

export type Methods = Readonly<Record<string, MethodDefinition | StreamMethodDefinition>>;

/** The remote surface of an actor: declared once, shared by its host and its callers. */
export interface ActorClass<M extends Methods> {
  readonly name: string;
  readonly methods: M;
  /** A handle on the actor hosted at `subject`, wherever it is. */
  handle(bus: MessageBus, subject: string): ActorHandle<M>;
}

/** What hosts an actor: one function per method; an instance of a class will do. `signal` is aborted when the caller gives up
 *  or the host closes. */
export type ActorImplementation<M extends Methods> = {
  readonly [K in keyof M]: M[K] extends StreamMethodDefinition<infer Input, infer Item>
    ? (argument: z.output<Input>, signal: AbortSignal) => AsyncIterable<z.input<Item>>
    : M[K] extends MethodDefinition<infer Input, infer Output>
      ? (argument: z.output<Input>, signal: AbortSignal) => Promise<z.input<Output>>
      : never;
};

/** @throws TypeError when a method's name is no plain word: a handle with a `then` would pass for a promise. */
export function actorClass<const M extends Methods>(name: string, methods: M): ActorClass<M> {
  for (const method of Object.keys(methods)) {
    if (!/^[A-Za-z][A-Za-z0-9]*$/.test(method) || method === 'then')
      throw new TypeError(`${name}: a method cannot be named ${JSON.stringify(method)}`);
  }
  const actor: ActorClass<M> = { name, methods, handle: (bus, subject) => makeHandle(actor, bus, subject) };
  return actor;
}

export function method<Input extends z.ZodType, Output extends z.ZodType>(
  input: Input,
  output: Output,
): MethodDefinition<Input, Output> {
  return { kind: 'method', input, output };
}

export function streamMethod<Input extends z.ZodType, Item extends z.ZodType>(
  input: Input,
  item: Item,
): StreamMethodDefinition<Input, Item> {
  return { kind: 'stream', input, item };
}
