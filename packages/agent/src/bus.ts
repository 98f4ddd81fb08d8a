import { connectLocal, connectNats, type MessageBus, MessageBusError, type OnWarning } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import { type Logger, variables } from '@skein/telemetry';
import { ConfigError } from './errors.ts';
import { Waiting } from './waiting.ts';

/** A broker may come up long after those who need it; whoever starts us tries again after this. */
const DEADLINE_MS = 600_000;
/** Shorter than the leader's deadline of the call that opens it, so that the reason arrives there. */
const DIRECT_DEADLINE_MS = 10_000;

export function busWarnings(logger: Logger): OnWarning {
  return ({ code, message, details }) => logger.warn({ code, ...details }, message);
}

export interface NatsBusOptions {
  readonly identity: Identity;
  readonly groupKey: string | null;
  readonly logger: Logger;
  /** For the first connection; default 10 minutes. */
  readonly deadlineMs?: number;
  /** What the log says is being waited for; default the broker. */
  readonly waitingFor?: string;
  readonly signal?: AbortSignal;
}

/** The broker's bus. Says every 5 s that it waits, and why.
 *  @throws ConfigError ERR_ADDRESS and ERR_GROUP_KEY, MessageBusError ERR_DEADLINE, or the signal's reason. */
export async function natsBus(url: string, options: NatsBusOptions): Promise<MessageBus> {
  const { identity, groupKey, logger, signal, deadlineMs = DEADLINE_MS } = options;
  using waiting = new Waiting(logger, options.waitingFor ?? `the broker at ${brokerPlace(url)}`);
  try {
    return await connectNats({
      servers: url.split(','),
      identity,
      groupKey,
      deadlineMs,
      onWaiting: (reason) => {
        waiting.detail = reason;
      },
      onWarning: busWarnings(logger),
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (!(error instanceof MessageBusError)) throw error;
    if (error.code === 'ERR_ADDRESS')
      throw new ConfigError(error.code, `${variables.natsUrl.name}: ${error.message}`, { cause: error });
    if (error.code !== 'ERR_GROUP_KEY') throw error;
    const message = `${variables.groupKey.name} differs from the one of the broker at ${brokerPlace(url)}; give every member of the group the same`;
    throw new ConfigError('ERR_GROUP_KEY', message, { cause: error });
  }
}

/** The leader's hub: the bus of a group without a broker, and the direct link beside one. */
export async function directBus(
  address: { readonly host: string; readonly port: number },
  options: { readonly identity: Identity; readonly groupKey: string | null; readonly logger: Logger },
): Promise<MessageBus> {
  const { identity, groupKey, logger } = options;
  return connectLocal({ address, identity, groupKey, deadlineMs: DIRECT_DEADLINE_MS, onWarning: busWarnings(logger) });
}

/** A broker's URL without the credentials that may be in it. */
export function brokerPlace(url: string): string {
  return url.replaceAll(/[^/,@]*@/g, '');
}
