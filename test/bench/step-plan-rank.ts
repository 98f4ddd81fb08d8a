import { connectLocal, connectNats, type MessageBus } from '@skein/message-bus';
import { newIdentity, stepPlanSchema, type StepResult, subjects } from '@skein/protocol';
import { silentLogger } from '@skein/telemetry';

/** How a rank reaches the leader of the bench: a NATS URL, or the port of a local hub. */
export type StepPlanBus = { readonly natsUrl: string } | { readonly localPort: number };

export const GROUP = 'bench';

/** Microseconds of the system's monotonic clock, which all processes of a machine share. */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
