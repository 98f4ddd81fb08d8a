import type { MessageBus } from '@skein/message-bus';
import type { z } from 'zod';
import type { ActorClass, MethodDefinition, Methods, StreamMethodDefinition } from './actor-class.ts';
import { ActorCallError } from './errors.ts';
import { ObjectRef } from './object-ref.ts';
import { type Call, type CallOptions, RemoteActor } from './remote-actor.ts';

/** One method of a handle. Calling it directly is a mistake, as in Ray; `.remote()` calls the actor. */
export interface RemoteMethod<Input, Result> {
  remote(argument: Input): Result;
  options(options: CallOptions): { remote(argument: Input): Result };
}

/** Where a handle keeps its actor, for this package's functions. */
export const remoteActor: unique symbol = Symbol('the actor of a handle');

/** A stream method gives an async iterable: it starts when its first item is asked for, and leaving the loop cancels it. */
export type ActorHandle<M extends Methods> = {
  readonly [K in keyof M]: M[K] extends StreamMethodDefinition<infer Input, infer Item>
    ? RemoteMethod<z.input<Input>, AsyncIterable<z.output<Item>>>
    : M[K] extends MethodDefinition<infer Input, infer Output>
      ? RemoteMethod<z.input<Input>, ObjectRef<z.output<Output>>>
      : never;
} & { readonly [remoteActor]: RemoteActor };

export function makeHandle<M extends Methods>(actor: ActorClass<M>, bus: MessageBus, subject: string): ActorHandle<M> {
  const remote = new RemoteActor(bus, subject);
  const methods = Object.entries(actor.methods).map(([name, definition]) => {
    const what = `${actor.name}.${name}`;
    const call = (options: CallOptions) => ({
      remote: (argument: unknown) => {
        const toCall = (): Call => ({ method: name, what, argument: checkArgument(definition.input, argument, what) });
        return definition.kind === 'stream'
          ? checkItems(definition.item, () => remote.stream(toCall(), options), what)
          : new ObjectRef(async (signal) =>
              checkResult(definition.output, await remote.call(toCall(), options, signal), what),
            );
      },
    });
    const direct = (): never => {
      throw new ActorCallError('ERR_ACTOR_CALL', `${what}() runs elsewhere: call ${name}.remote()`);
    };
    return [name, Object.assign(direct, { ...call({}), options: call })] as const;
  });
  return { ...Object.fromEntries(methods), [remoteActor]: remote } as unknown as ActorHandle<M>;
}

async function* checkItems(
  schema: z.ZodType,
  open: () => AsyncIterable<unknown>,
  what: string,
): AsyncGenerator<unknown> {
  for await (const item of open()) yield checkResult(schema, item, what);
}

/** @throws ActorCallError ERR_ACTOR_CALL. */
export function checkArgument(schema: z.ZodType, value: unknown, what: string): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new ActorCallError('ERR_ACTOR_CALL', `${what}: ${parsed.error.message}`);
}

/** @throws ActorCallError ERR_ACTOR_RESULT. */
export function checkResult(schema: z.ZodType, value: unknown, what: string): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new ActorCallError(
    'ERR_ACTOR_RESULT',
    `${what} answered what its class does not declare: ${parsed.error.message}`,
  );
}
