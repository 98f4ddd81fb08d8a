import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Behaviour = (request: IncomingMessage, response: ServerResponse, body: string) => void;

export interface FakeLeader extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly requests: IncomingMessage[];
  readonly bodies: string[];
  /** Connections cut by the other side before the answer was over. */
  cancelled: number;
  behave: Behaviour;
}

/** An HTTP server on a free port (or `port`) that answers as a test says. */
export async function startLeader(behave: Behaviour, port = 0): Promise<FakeLeader> {
  const server = createServer((request, response) => {
    let body = '';
    response.on('close', () => {
      if (!response.writableFinished) leader.cancelled += 1;
    });
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      leader.requests.push(request);
      leader.bodies.push(body);
      leader.behave(request, response, body);
    });
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(port, '127.0.0.1', resolve);
  await promise;
  const address = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    const closed = Promise.withResolvers<void>();
    server.close(() => closed.resolve());
    server.closeAllConnections();
    await closed.promise;
  };
  const leader: FakeLeader = {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    requests: [],
    bodies: [],
    cancelled: 0,
    behave,
    [Symbol.asyncDispose]: stop,
  };
  return leader;
}

export function event(text: string): string {
  const choice = { index: 0, delta: { content: text }, finish_reason: null };
  return `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'tiny', choices: [choice] })}\n\n`;
}

export const whole: Behaviour = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'x-skein-secret': '1' });
  response.end('{"ok":true}');
};

export const stream: Behaviour = (_, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(`${event('Hel')}${event('lo')}data: [DONE]\n\n`);
};

/** Sends `bytes` of a stream and then waits. */
export function stall(bytes: string): Behaviour {
  return (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    if (bytes !== '') response.write(bytes);
  };
}

/** Sends `bytes` of a stream and then breaks the connection. */
export function die(bytes: string): Behaviour {
  return (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    response.write(bytes === '' ? '\n' : bytes, () => setTimeout(() => request.socket.destroy(), 20));
  };
}

export function status(code: number, headers: Record<string, string> = {}): Behaviour {
  return (_, response) => {
    response.writeHead(code, { 'content-type': 'application/json', ...headers });
    response.end(`{"error":{"message":"m","type":"t","param":null,"code":${code}}}`);
  };
}
