import { createSocket, type Socket } from 'node:dgram';
import { afterEach, expect, test } from 'vitest';
import { nameServerFault } from './name-servers.ts';

let socket: Socket | null = null;
afterEach(() => {
  socket?.close();
  socket = null;
});

/** A nameserver on loopback. `answers`: it says that there is no such name; else it says nothing. */
async function nameServer(answers: boolean): Promise<string> {
  const server = createSocket('udp4');
  socket = server;
  server.on('message', (query, from) => {
    if (!answers) return;
    const answer = Buffer.from(query);
    // A response (0x80) with recursion and the code NXDOMAIN.
    answer.writeUInt16BE(0x8183, 2);
    server.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
  return `127.0.0.1:${server.address().port}`;
}

test('a nameserver that answers is no fault, whatever it says', async () => {
  expect(await nameServerFault('chat-0.chat', [await nameServer(true)])).toBeNull();
});

test('one that says nothing is named, with what to check', async () => {
  const server = await nameServer(false);
  expect(await nameServerFault('chat-0.chat', [server])).toBe(
    `nameserver ${server} does not answer; check /etc/resolv.conf, and that port 53 there is let through`,
  );
});

test('so is one where nothing listens', async () => {
  const server = await nameServer(true);
  socket?.close();
  socket = null;
  expect(await nameServerFault('chat-0.chat', [server])).toContain(
    `nameserver ${server} cannot be asked (ECONNREFUSED)`,
  );
  expect(await nameServerFault('chat-0.chat', [])).toContain('/etc/resolv.conf');
});
