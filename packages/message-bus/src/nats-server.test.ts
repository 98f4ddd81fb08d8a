import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { natsToken } from './nats-token.ts';
import { startNatsServer } from './nats-server.ts';
import { until } from './testing/until.ts';

const options = { host: '127.0.0.1', port: 0, token: natsToken('a key') };

test('the token is not in argv, and its file is gone once the broker has read it', async () => {
  const server = await startNatsServer(options);
  const argv = await readFile(`/proc/${server.pid}/cmdline`, 'utf8');
  expect(argv).not.toContain(options.token);
  const config = argv.split('\0').find((argument) => argument.endsWith('nats.conf')) ?? '';
  expect(existsSync(dirname(config))).toBe(false);
  await server.stop();
  expect(existsSync(`/proc/${server.pid}`)).toBe(false);
});

test('what goes wrong has a name', async () => {
  await expect(startNatsServer({ ...options, binary: '/nowhere/nats-server' })).rejects.toMatchObject({
    code: 'ERR_NATS_SERVER',
  });
  await using server = await startNatsServer(options);
  await expect(startNatsServer({ ...options, port: server.port })).rejects.toMatchObject({
    code: 'ERR_NATS_SERVER',
    message: expect.stringContaining('address already in use') as string,
  });
});

test('an exit without stop is told', async () => {
  const exited = Promise.withResolvers<string>();
  const server = await startNatsServer({ ...options, onExit: exited.resolve });
  process.kill(server.pid, 'SIGKILL');
  expect(await exited.promise).toBe('was killed by SIGKILL');
});

test('it dies with its parent', async () => {
  const parent = fork(join(import.meta.dirname, 'testing/nats-parent.ts'));
  const pid = await new Promise<number>((resolve) => parent.once('message', (message) => resolve(Number(message))));
  expect(existsSync(`/proc/${pid}`)).toBe(true);
  parent.kill('SIGKILL');
  await until('the broker is gone', () => !existsSync(`/proc/${pid}`));
});
