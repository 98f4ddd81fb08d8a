import { connectLocal, connectNats, type MessageBus, type OnWarning } from '@skein/message-bus';
import type { Identity } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';

const DEADLINE_MS = 30_000;

export function busWarnings(logger: Logger): OnWarning {
  return ({ code, message, details }) => logger.warn({ code, ...details }, message);
}

/** The broker's bus. `onWaiting` is told why there is no connection yet. */
export async function natsBus(
  url: string,
  options: {
    readonly identity: Identity;
    readonly groupKey: string | null;
    readonly logger: Logger;
    readonly deadlineMs?: number;
    readonly onWaiting?: (reason: string) => void;
  },
): Promise<MessageBus> {
  const { identity, groupKey, logger, deadlineMs = DEADLINE_MS, onWaiting = () => {} } = options;
  return connectNats({ servers: url.split(','), identity, groupKey, deadlineMs, onWaiting, onWarning: busWarnings(logger) });
}

/** The leader's hub: the bus of a group without a broker, and the direct link beside one. */
export async function directBus(
  address: { readonly host: string; readonly port: number },
  options: { readonly identity: Identity; readonly groupKey: string | null; readonly logger: Logger },
): Promise<MessageBus> {
  const { identity, groupKey, logger } = options;
  return connectLocal({ address, identity, groupKey, deadlineMs: DEADLINE_MS, onWarning: busWarnings(logger) });
}
