import { connectLocal, connectNats, type MessageBus, MessageBusError, type OnWarning } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import { type Logger, variables } from '@skein/telemetry';
import { ConfigError } from './errors.ts';
import { untilAborted } from './until-aborted.ts';

const DEADLINE_MS = 30_000;
/** Shorter than the leader's deadline of the call that opens it, so that the reason arrives there. */
const DIRECT_DEADLINE_MS = 10_000;
/** How long an attempt may outlive its abort. */
const ATTEMPT_MS = 1000;

export function busWarnings(logger: Logger): OnWarning {
  return ({ code, message, details }) => logger.warn({ code, ...details }, message);
}

export interface NatsBusOptions {
  readonly identity: Identity;
  readonly groupKey: string | null;
  readonly logger: Logger;
  /** For the first connection; default 30 s. */
  readonly deadlineMs?: number;
  /** Is told why there is no connection yet. */
  readonly onWaiting?: (reason: string) => void;
  readonly signal?: AbortSignal;
}

/** The broker's bus. @throws ConfigError ERR_GROUP_KEY, ERR_DEADLINE, or the signal's reason. */
export async function natsBus(url: string, options: NatsBusOptions): Promise<MessageBus> {
  const {
    identity,
    groupKey,
    logger,
    deadlineMs = DEADLINE_MS,
    onWaiting = () => {},
    signal = new AbortController().signal,
  } = options;
  const deadlineAt = performance.now() + deadlineMs;
  for (;;) {
    signal.throwIfAborted();
    const attemptMs = Math.max(1, Math.min(ATTEMPT_MS, Math.round(deadlineAt - performance.now())));
    const connecting = connectNats({
      servers: url.split(','),
      identity,
      groupKey,
      deadlineMs: attemptMs,
      onWaiting,
      onWarning: busWarnings(logger),
    });
    try {
      return await untilAborted(connecting, signal);
    } catch (error) {
      // A connection that comes after all belongs to nobody.
      connecting.then((late) => late.close()).catch(() => {});
      signal.throwIfAborted();
      if (!(error instanceof MessageBusError)) throw error;
      if (error.code === 'ERR_GROUP_KEY') {
        const message = `${variables.groupKey.name} differs from the one of the broker at ${brokerPlace(url)}; give every member of the group the same`;
        throw new ConfigError('ERR_GROUP_KEY', message, { cause: error });
      }
      if (error.code !== 'ERR_DEADLINE') throw error;
      if (performance.now() < deadlineAt) continue;
      throw new MessageBusError(
        'ERR_DEADLINE',
        `no connection to the broker at ${brokerPlace(url)} in ${deadlineMs} ms: ${String(error.details['reason'])}`,
        { cause: error },
      );
    }
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
