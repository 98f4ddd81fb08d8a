import { Resolver } from 'node:dns/promises';

const ANSWER_MS = 1500;
/** As many as the system's resolver uses. */
const SERVERS_MAX = 3;

/** What the host's nameservers do when asked about `name` once each: null when one answers, be it that there is no such name;
 *  else which are silent and what to check. Within two seconds, unlike the system's resolver. */
export async function nameServerFault(name: string, servers?: readonly string[]): Promise<string | null> {
  const asked = (servers ?? new Resolver().getServers()).slice(0, SERVERS_MAX);
  const said = await Promise.all(asked.map(async (server) => ({ server, code: await ask(server, name) })));
  if (said.length === 0) return 'no nameserver is configured in /etc/resolv.conf';
  if (said.some(({ code }) => code === null)) return null;
  const each = said.map(
    ({ server, code }) =>
      `nameserver ${server} ${code === 'ETIMEOUT' ? 'does not answer' : `cannot be asked (${code})`}`,
  );
  return `${each.join(', ')}; check /etc/resolv.conf, and that port 53 there is let through`;
}

/** Null for an answer of any kind. */
async function ask(server: string, name: string): Promise<string | null> {
  const resolver = new Resolver({ timeout: ANSWER_MS, tries: 1 });
  try {
    resolver.setServers([server]);
    await resolver.resolve4(name);
    return null;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return SILENCE.has(code) ? code : null;
  } finally {
    resolver.cancel();
  }
}

const SILENCE: ReadonlySet<string> = new Set(['ETIMEOUT', 'ECONNREFUSED']);
