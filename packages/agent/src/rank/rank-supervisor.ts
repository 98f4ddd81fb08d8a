import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { endProcess, spawnBound } from '@skein/message-bus';
import { type Identity, identitySchema } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { z } from 'zod';
import type { RankProcessInit } from './rank-init.ts';
import { Silence } from './silence.ts';

const messageSchema = z.union([
  z.object({ started: identitySchema }),
  z.object({ alive: z.literal(true) }),
  z.object({ failed: z.object({ code: z.string(), message: z.string() }) }),
]);

/** A process that lived this long is started again at once. */
const SETTLED_MS = 10_000;
/** A rank that says nothing for this long is stuck, and is killed; */
const SILENT_MS = 4000;
/** one that has only been started may be reading programs from a slow disk. */
const SILENT_AT_START_MS = 60_000;

/** Keeps one rank process running: starts it again when it dies, later each time it dies young, and kills it when it no
 *  longer answers for itself. */
export class RankSupervisor {
  readonly #init: RankProcessInit;
  readonly #logger: Logger;
  readonly #onChange: (rank: Identity | null) => void;
  #child: ChildProcess | null = null;
  #silence: Silence | null = null;
  #timer: NodeJS.Timeout | null = null;
  #pauseMs = 0;
  #closed = false;

  /** `onChange` gets the rank's identity once it has joined, and null as soon as its process has ended; nothing once
   *  `close` was called. */
  constructor(
    init: RankProcessInit,
    options: { readonly logger: Logger; readonly onChange: (rank: Identity | null) => void },
  ) {
    this.#init = init;
    this.#logger = options.logger;
    this.#onChange = options.onChange;
    this.#start();
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#silence?.close();
    if (this.#child) await endProcess(this.#child, 2000);
  }

  #start(): void {
    const startedMs = performance.now();
    const child = spawnBound(process.execPath, [fileURLToPath(import.meta.resolve('./rank-process.ts'))], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child = child;
    const silence = new Silence(SILENT_AT_START_MS, (silentMs) => {
      this.#logger.error({ pid: child.pid, silentMs }, 'the rank process is stuck; killing it');
      child.kill('SIGKILL');
    });
    this.#silence = silence;
    child.on('error', (error) => {
      this.#logger.error({ error: error.message }, 'the rank process could not be started');
      // Then no exit follows.
      if (child.pid === undefined) this.#ended(startedMs);
    });
    child.on('message', (message) => {
      const parsed = messageSchema.safeParse(message);
      if (!parsed.success) return;
      if ('started' in parsed.data) this.#tell(parsed.data.started);
      else if ('alive' in parsed.data) silence.broken(SILENT_MS);
      else
        this.#logger.error(
          { code: parsed.data.failed.code },
          `the rank could not start: ${parsed.data.failed.message}`,
        );
    });
    child.once('exit', (exitCode, signal) => {
      this.#ended(startedMs);
      if (!this.#closed)
        this.#logger.warn({ exitCode, signal, restartMs: this.#pauseMs }, 'the rank process ended; starting another');
    });
    child.send(this.#init, (error) => {
      if (error) this.#logger.debug({ error: error.message }, 'the rank process ended before it was told what to be');
    });
  }

  #ended(startedMs: number): void {
    this.#child = null;
    this.#silence?.close();
    this.#tell(null);
    if (this.#closed) return;
    this.#pauseMs = performance.now() - startedMs > SETTLED_MS ? 0 : Math.min(5000, this.#pauseMs * 2 + 100);
    this.#timer = setTimeout(() => this.#start(), this.#pauseMs);
  }

  /** Whoever closed the supervisor has withdrawn what it told. */
  #tell(rank: Identity | null): void {
    if (!this.#closed) this.#onChange(rank);
  }
}
