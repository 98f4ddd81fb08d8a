import type { Logger } from '@skein/telemetry';
import { dial, dialFault, hostAnswers, REFERENCE_PORT } from './dial.ts';

const DIAL_MS = 3500;
const REFERENCE_MS = 1000;

/** Why nothing can be dialled at an address: null when it can, or when the host refuses, as one does that has not come up.
 *  Within 5 s. The text has the fault and the remedy. */
export async function unreachable(address: string, port: number): Promise<string | null> {
  const dialled = await dial({ address, port, localAddress: null }, DIAL_MS);
  if ('socket' in dialled) {
    dialled.socket.destroy();
    return null;
  }
  const { failure } = dialled;
  if (failure === 'ECONNREFUSED') return null;
  switch (dialFault(failure, await hostAnswers({ address, port: REFERENCE_PORT, localAddress: null }, REFERENCE_MS))) {
    case 'no-route':
      return `there is no route to ${address}: ${failure}; add the route, or give this host an interface in a network that the leader is in`;
    case 'blocked-port':
      return `port ${port} of ${address} is blocked: ${failure === 'timeout' ? 'no answer' : failure}, though the host itself answers; let TCP to it pass`;
    case 'no-answer':
      return `nothing answers at ${address}, neither port ${port} nor any other; check that the address is the leader's, and let TCP to it pass`;
  }
}

/** Logs once why the leader cannot be reached, if it cannot. */
export function warnIfUnreachable(leader: { readonly address: string; readonly port: number }, logger: Logger): void {
  void unreachable(leader.address, leader.port).then((fault) => {
    if (fault !== null) logger.warn(fault);
  });
}
