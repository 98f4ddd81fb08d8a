import { connect, type Socket } from 'node:net';

/** A port where hardly anything listens: what answers there, even with a refusal, is the host itself. */
export const REFERENCE_PORT = 9;

export interface DialTarget {
  readonly address: string;
  readonly port: number;
  /** The address to dial from; null leaves it to the route. */
  readonly localAddress: string | null;
}

/** How a dial ended: with a socket, or with what the system said (`ECONNREFUSED`), `timeout` for no answer at all. */
export type Dialled = { readonly socket: Socket } | { readonly failure: string };

/** One TCP connection attempt. The socket has no listener but one for errors, which `close` follows. */
export async function dial({ address, port, localAddress }: DialTarget, deadlineMs: number): Promise<Dialled> {
  const { promise, resolve } = Promise.withResolvers<Dialled>();
  const socket = connect({
    host: address,
    port,
    noDelay: true,
    ...(localAddress === null ? {} : { localAddress }),
  });
  socket.once('connect', () => resolve({ socket }));
  socket.on('error', (error: NodeJS.ErrnoException) => resolve({ failure: error.code ?? error.message }));
  const timer = setTimeout(() => resolve({ failure: 'timeout' }), deadlineMs);
  const dialled = await promise;
  clearTimeout(timer);
  if ('failure' in dialled) socket.destroy();
  return dialled;
}

/** Whether the host at an address answers TCP at all, be it with a refusal. `port`: one that is known to be open, or
 *  REFERENCE_PORT. */
export async function hostAnswers(target: DialTarget, deadlineMs: number): Promise<boolean> {
  const dialled = await dial(target, deadlineMs);
  if ('socket' in dialled) dialled.socket.destroy();
  return 'socket' in dialled || dialled.failure === 'ECONNREFUSED';
}

/** What a failed dial is evidence of. */
export type DialFault = 'no-route' | 'blocked-port' | 'no-answer';

/** `answers`: whether the host answers on another port. */
export function dialFault(failure: string, answers: boolean): DialFault {
  // EPERM: a packet filter of this host.
  if (answers || failure === 'ECONNREFUSED' || failure === 'EPERM') return 'blocked-port';
  return failure === 'timeout' ? 'no-answer' : 'no-route';
}
