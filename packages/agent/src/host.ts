import { createHash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFileSync, readlinkSync } from 'node:fs';
import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '@skein/telemetry';
import { ConfigError, LeaderNotFoundError } from './errors.ts';
import { isLoopbackAddress } from './network/choose-interface.ts';
import { routeSource } from './network/host-network.ts';
import { nameServerFault } from './network/name-servers.ts';
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
  readonly resolver?: (name: string) => Promise<readonly { readonly address: string }[]>;
  /** Default: RESOLVE_DEADLINE_MS. */
  readonly deadlineMs?: number;
  /** Told once when no nameserver answers, with what to check. */
  readonly onSilence?: (fault: string) => void;
}

/** Pods of a group are made together; a name that is missing for so long is wrong, or its leader cannot be placed. */
const RESOLVE_DEADLINE_MS = 600_000;
/** A resolver that takes longer is not waited for before its nameservers are asked. */
const SILENT_MS = 2000;

/** The leader's address. `*.localhost` is loopback (RFC 6761), whatever the resolver knows.
 *  @throws LeaderNotFoundError when the name does not resolve in time; ConfigError when it resolves to this host itself. */
export async function resolveLeader(address: string, options: ResolveOptions): Promise<string> {
  if (isIP(address)) return address;
  if (/(^|\.)localhost$/.test(address)) return '127.0.0.1';
  const found = await resolved(address, options);
  if (!isLoopbackAddress(found)) return found;
  throw new ConfigError(
    'ERR_LWS_ENVIRONMENT',
    `LWS_LEADER_ADDRESS ${address} resolves to ${found}, which is this host itself; check the hosts file or the headless service`,
  );
}

async function resolved(name: string, options: ResolveOptions): Promise<string> {
  const { logger, signal, resolver = lookupAll, deadlineMs = RESOLVE_DEADLINE_MS } = options;
  const deadline = AbortSignal.timeout(deadlineMs);
  const ended = AbortSignal.any([signal, deadline]);
  using waiting = new Waiting(logger, `the name ${name} (LWS_LEADER_ADDRESS) to resolve`);
  let failure = 'the resolver does not answer';
  const silent = setTimeout(() => {
    void nameServerFault(name).then((fault) => {
      if (fault === null || ended.aborted) return;
      failure = fault;
      waiting.detail = fault;
      logger.warn(`the name ${name} (LWS_LEADER_ADDRESS) does not resolve: ${fault}`);
      options.onSilence?.(fault);
    });
  }, SILENT_MS);
  try {
    for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 2, 2000)) {
      ended.throwIfAborted();
      // The system's resolver may take half a minute, and cannot be cancelled.
      const found = await untilAborted(
        resolver(name).catch((error: NodeJS.ErrnoException) => error),
        ended,
      );
      if (!(found instanceof Error)) return await reachable(found.map(({ address }) => address));
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
  } finally {
    clearTimeout(silent);
  }
}

function lookupAll(name: string): Promise<{ readonly address: string }[]> {
  return lookup(name, { all: true });
}

/** The first address that there is a route to: a name may have one of a family that this host does not speak. */
async function reachable(addresses: readonly string[]): Promise<string> {
  for (const address of addresses) if ((await routeSource(address)) !== null) return address;
  return addresses[0] ?? '';
}

export function isLoopback(address: string): boolean {
  return address === 'localhost' || isLoopbackAddress(address);
}

/** The URL of a broker on the leader. */
export function natsUrlOf(address: string, port: number): string {
  return `nats://${hostInUrl(address)}:${port}`;
}

/** An address as URLs have it: IPv6 in brackets. */
export function hostInUrl(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
