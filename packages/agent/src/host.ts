import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { readFileSync, readlinkSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '@skein/telemetry';
import { ConfigError, LeaderNotFoundError } from './errors.ts';
import { untilAborted } from './until-aborted.ts';
import { Waiting } from './waiting.ts';

/** Equal for two processes exactly when one may map the other's memory: same kernel, same process, network and IPC
 *  namespaces, same user. Processes in containers of their own count as hosts of their own. */
export function hostId(): string {
  const hash = createHash('sha256').update(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
  for (const namespace of ['pid', 'net', 'ipc']) hash.update(readlinkSync(`/proc/self/ns/${namespace}`));
  return hash.update(String(process.getuid?.())).digest('hex').slice(0, 16);
}

export interface ResolveOptions {
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Default: the system's. */
  readonly resolver?: (name: string) => Promise<{ readonly address: string }>;
  /** Default: RESOLVE_DEADLINE_MS. */
  readonly deadlineMs?: number;
}

/** Pods of a group are made together; a name that is missing for so long is wrong, or its leader cannot be placed. */
const RESOLVE_DEADLINE_MS = 600_000;

/** The leader's address. `*.localhost` is loopback (RFC 6761), whatever the resolver knows.
 *  @throws LeaderNotFoundError when the name does not resolve in time; ConfigError when it resolves to this host itself. */
export async function resolveLeader(address: string, options: ResolveOptions): Promise<string> {
  if (isIP(address)) return address;
  if (/(^|\.)localhost$/.test(address)) return '127.0.0.1';
  const found = await resolved(address, options);
  if (!/^127\.|^::1$/.test(found)) return found;
  throw new ConfigError(
    'ERR_LWS_ENVIRONMENT',
    `LWS_LEADER_ADDRESS ${address} resolves to ${found}, which is this host itself; check the hosts file or the headless service`,
  );
}

async function resolved(name: string, options: ResolveOptions): Promise<string> {
  const { logger, signal, resolver = lookup, deadlineMs = RESOLVE_DEADLINE_MS } = options;
  const deadline = AbortSignal.timeout(deadlineMs);
  const ended = AbortSignal.any([signal, deadline]);
  using waiting = new Waiting(logger, `the name ${name} (LWS_LEADER_ADDRESS) to resolve`);
  let failure = 'the resolver does not answer';
  try {
    for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 2, 2000)) {
      ended.throwIfAborted();
      // The system's resolver may take half a minute, and cannot be cancelled.
      const found = await untilAborted(
        resolver(name).catch((error: NodeJS.ErrnoException) => error),
        ended,
      );
      if (!(found instanceof Error)) return found.address;
      failure = found.code ?? found.message;
      waiting.detail = failure;
      await delay(pauseMs, undefined, { signal: ended });
    }
  } catch (error) {
    if (signal.aborted || !deadline.aborted) throw error;
    throw new LeaderNotFoundError(
      'ERR_LEADER_NOT_FOUND',
      `LWS_LEADER_ADDRESS ${name} has not resolved in ${deadlineMs / 1000} s (${failure}); check that the leader runs and that its headless service publishes addresses that are not ready`,
      { details: { name, deadlineMs }, cause: error },
    );
  }
}

/** The network interface that carries traffic to `address`, by the route's own source address; no packet is sent. On the
 *  leader `address` is its own. Null when it cannot be told. */
export async function interfaceTowards(address: string): Promise<string | null> {
  const own = interfaceOf(address);
  if (own !== null) return own;
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(9, address, resolve);
    });
    return interfaceOf(socket.address().address);
  } catch {
    // No route yet: the dial that follows says so with the address.
    return null;
  } finally {
    socket.close();
  }
}

function interfaceOf(address: string): string | null {
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (addresses?.some((a) => a.address === address)) return name;
  }
  return null;
}

export function isLoopback(address: string): boolean {
  return /^127\.|^::1$|^localhost$/.test(address);
}
