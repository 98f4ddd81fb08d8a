import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { FRAME_BYTES_MAX } from './carrier.ts';
import { spawnBound } from './child-process.ts';
import { MessageBusError } from './errors.ts';
import { findProgram } from './find-program.ts';

const START_MS_MAX = 10_000;
const STOP_MS_MAX = 5000;
const LOG_CHARS_MAX = 4000;

export interface NatsServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** What clients must bring; see `natsToken`. */
  readonly token: string | null;
  readonly maxPayloadBytes?: number;
  /** Default: nats-server in the directories of `path`, then /usr/sbin and /usr/local/bin. */
  readonly binary?: string;
  /** The PATH to search. */
  readonly path?: string;
  /** Called when the broker ends without `stop`. */
  readonly onExit?: (reason: string) => void;
}

/** A broker that this process started. It dies with its parent, by whatever signal that is killed. */
export interface NatsServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a real nats-server for small control messages: no JetStream (its acknowledged writes can be lost in a crash, and
 *  nothing here needs to outlive the broker), no monitoring port, websocket, MQTT or leaf nodes.
 *  @throws ERR_NATS_SERVER_MISSING when there is no binary, ERR_NATS_SERVER when it does not come up. */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const binary = options.binary ?? (await findProgram('nats-server', options.path));
  if (binary === null) {
    throw new MessageBusError(
      'ERR_NATS_SERVER_MISSING',
      'there is no nats-server: install the Debian package nats-server, or name a running broker',
    );
  }
  // Private to this user (mkdtemp makes it 0700): the token is in a file in it, and not in argv, which all can read.
  const directory = await mkdtemp(join(tmpdir(), 'skein-nats-'));
  try {
    const config = join(directory, 'nats.conf');
    await writeFile(config, configuration(options, directory), { mode: 0o600 });
    const child = spawnBound(binary, ['--config', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    return await NatsServerProcess.start(child, directory, options);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

function configuration({ host, port, token, maxPayloadBytes }: NatsServerOptions, directory: string): string {
  const lines = [
    `listen: ${JSON.stringify(`${host.includes(':') ? `[${host}]` : host}:${port === 0 ? -1 : port}`)}`,
    `ports_file_dir: ${JSON.stringify(directory)}`,
    `max_payload: ${maxPayloadBytes ?? FRAME_BYTES_MAX}`,
    // Clients ping each second; this is the broker's own look for half-open connections.
    'ping_interval: "5s"',
    'ping_max: 2',
    'write_deadline: "5s"',
    'max_subscriptions: 0',
    'lame_duck_duration: "30s"',
  ];
  if (token !== null) lines.push(`authorization { token: ${JSON.stringify(token)} }`);
  return `${lines.join('\n')}\n`;
}

const portsSchema = z.object({ nats: z.array(z.string()).min(1) });

class NatsServerProcess implements NatsServer {
  readonly host: string;
  readonly pid: number;
  port = 0;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #exited: Promise<string>;
  #log = '';
  #stopping = false;

  private constructor(child: ChildProcess, pid: number, directory: string, host: string) {
    this.host = host;
    this.pid = pid;
    this.#child = child;
    this.#directory = directory;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#exited = promise;
    child.once('exit', (code, signal) => resolve(signal === null ? `exited with ${code}` : `was killed by ${signal}`));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log = (this.#log + text).slice(-LOG_CHARS_MAX);
    });
  }

  static async start(child: ChildProcess, directory: string, options: NatsServerOptions): Promise<NatsServerProcess> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.once('spawn', resolve);
    child.on('error', reject);
    await promise.catch((error: unknown) => {
      throw new MessageBusError('ERR_NATS_SERVER', `nats-server cannot be started: ${String(error)}`, { cause: error });
    });
    const server = new NatsServerProcess(child, child.pid ?? 0, directory, options.host);
    await server.#untilListening();
    // The broker has read its configuration. What is gone cannot be left behind, token and all, by a killed parent.
    await rm(directory, { recursive: true, force: true });
    void server.#exited.then(async (reason) => {
      await rm(directory, { recursive: true, force: true });
      if (!server.#stopping) options.onExit?.(reason);
    });
    return server;
  }

  get url(): string {
    return `nats://${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX);
    await this.#exited.finally(() => clearTimeout(timer));
    await rm(this.#directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** The ports file is written once the port is open. */
  async #untilListening(): Promise<void> {
    const state = { exited: null as string | null };
    void this.#exited.then((reason) => {
      state.exited = reason;
    });
    const deadlineAt = performance.now() + START_MS_MAX;
    while (state.exited === null && performance.now() < deadlineAt) {
      const port = await this.#readPort();
      if (port !== null) {
        this.port = port;
        return;
      }
      await sleep(20);
    }
    this.#child.kill('SIGKILL');
    const reason = state.exited === null ? `did not listen within ${START_MS_MAX} ms` : `${state.exited} at its start`;
    throw new MessageBusError('ERR_NATS_SERVER', `nats-server ${reason}: ${this.#log.trim().split('\n').at(-1)}`, {
      details: { log: this.#log },
    });
  }

  async #readPort(): Promise<number | null> {
    for (const name of await readdir(this.#directory)) {
      if (!name.endsWith('.ports')) continue;
      const text = await readFile(join(this.#directory, name), 'utf8');
      // Empty while it is being written.
      const ports = portsSchema.safeParse(parseJson(text));
      const url = ports.success ? URL.parse(ports.data.nats[0] ?? '') : null;
      if (url) return Number(url.port);
    }
    return null;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
