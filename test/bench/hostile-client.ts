import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';

/** A client that means harm, in a process of its own: every field of the table with values far out of its bounds, and prompts of
 *  megabytes, again and again until it is killed. Usage: hostile-client.ts URL */
const [url = ''] = process.argv.slice(2);
const table = readFileSync(new URL('../../docs/request-fields.md', import.meta.url), 'utf8');
const fields = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name = '']) => name);
const values = [
  'NaN',
  '-Infinity',
  '1e999',
  '9223372036854775808',
  `[${'1,'.repeat(100_000)}1]`,
  `${'['.repeat(5000)}${']'.repeat(5000)}`,
];
const large = [30, 9].map((megabytes) =>
  JSON.stringify({ prompt: 'All work and no play. '.repeat((megabytes * 1_000_000) / 22) }),
);
const dispatcher = new Agent({ connections: 4 });

async function send(path: string, body: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const response = await request(url + path, { dispatcher, method: 'POST', headers, body });
  await response.body.dump();
  if (response.statusCode < 400 || response.statusCode > 499) throw new Error(`${path}: ${response.statusCode}`);
}

for (;;) {
  for (const name of fields) {
    const base =
      name === 'messages' || name === 'prompt' ? '' : '"messages":[{"role":"user","content":"x"}],"prompt":"x",';
    const path = name === 'prompt' ? '/v1/completions' : '/v1/chat/completions';
    for (const value of values) await send(path, `{${base}"${name}":${value}}`);
  }
  await Promise.all(large.map((body) => send('/v1/completions', body).catch(wasCutOff)));
}

/** A body above the limit is refused while it is sent: the connection may close before the answer is read. */
function wasCutOff(error: unknown): void {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  if (!['EPIPE', 'ECONNRESET', 'UND_ERR_SOCKET'].includes(String(code))) throw error;
}
