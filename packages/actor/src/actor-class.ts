import type { MessageBus } from '@skein/message-bus';
import type { z } from 'zod';
import { type ActorHandle, makeHandle } from './actor-handle.ts';

/** A method of one argument, checked on both sides. */
export interface MethodDefinition<Input extends z.ZodType = z.ZodType, Output extends z.ZodType = z.ZodType> {
  readonly input: Input;
  readonly output: Output;
}

export type Methods = Readonly<Record<string, MethodDefinition>>;

/** The remote surface of an actor: declared once, shared by its host and its callers. */
export interface ActorClass<M extends Methods> {
  readonly name: string;
  readonly methods: M;
  /** A handle on the actor hosted at `subject`, wherever it is. */
  handle(bus: MessageBus, subject: string): ActorHandle<M>;
}

/** What hosts an actor: one function per method; calls run one after another, in the order they arrive. */
export type ActorImplementation<M extends Methods> = {
  readonly [K in keyof M]: (argument: z.output<M[K]['input']>, signal: AbortSignal) => Promise<z.input<M[K]['output']>>;
};

export function actorClass<const M extends Methods>(name: string, methods: M): ActorClass<M> {
  const actor: ActorClass<M> = { name, methods, handle: (bus, subject) => makeHandle(actor, bus, subject) };
  return actor;
}

export function method<Input extends z.ZodType, Output extends z.ZodType>(
  input: Input,
  output: Output,
): MethodDefinition<Input, Output> {
  return { input, output };
}
