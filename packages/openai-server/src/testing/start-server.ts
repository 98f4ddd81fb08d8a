import { Metrics, silentLogger } from '@skein/telemetry';
import { createOpenAIServer, type OpenAIServerOptions } from '../server.ts';
import { byteCodec, endOfText } from './byte-codec.ts';
import { ScriptedEngine } from './scripted-engine.ts';

export interface StartedServer extends AsyncDisposable {
  readonly engine: ScriptedEngine;
  readonly metrics: Metrics;
  readonly server: ReturnType<typeof createOpenAIServer>;
  readonly port: number;
  /** http://127.0.0.1:port */
  readonly url: string;
}

/** A server on a free port over a scripted engine and the byte tokenizer. */
export async function startServer(options: Partial<OpenAIServerOptions> = {}): Promise<StartedServer> {
  const engine = new ScriptedEngine();
  const metrics = new Metrics();
  const server = createOpenAIServer({
    engine,
    codec: byteCodec,
    model: { names: ['tiny', 'alias'], maxModelLen: 4096, eosTokenIds: [endOfText] },
    log: silentLogger,
    metrics,
    version: '1.2.3',
    isReady: () => ({ ready: true, reason: '' }),
    topology: () => ({ groups: [] }),
    experts: () => ({ groups: [] }),
    ...options,
  });
  const { port } = await server.listen('127.0.0.1', 0);
  const url = `http://127.0.0.1:${port}`;
  return { engine, metrics, server, port, url, [Symbol.asyncDispose]: () => server.close() };
}
