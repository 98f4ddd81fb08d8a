import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { spawnBound, SupervisedProcess } from '@skein/message-bus';
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

const GRACE_MS = 2000;
/** A rank that says nothing for this long is stuck, and is killed; */
const SILENT_MS = 4000;
/** one that has only been started may be reading programs from a slow disk. */
const SILENT_AT_START_MS = 60_000;

/** Keeps one rank process running, and kills it when it no longer answers for itself. */
export class RankSupervisor {
  readonly #init: RankProcessInit;
  readonly #logger: Logger;
  readonly #onChange: (rank: Identity | null) => void;
  readonly #process: SupervisedProcess;
  #silence: Silence | null = null;

  /** `onChange` gets the rank's identity once it has joined, and null as soon as its process has ended; nothing once
   *  `close` was called: whoever closed the supervisor has withdrawn what it told. */
  constructor(
    init: RankProcessInit,
    options: { readonly logger: Logger; readonly onChange: (rank: Identity | null) => void },
  ) {
    this.#init = init;
    this.#logger = options.logger;
    this.#onChange = options.onChange;
    this.#process = new SupervisedProcess({
      start: () => this.#start(),
      onEnd: ({ reason, restartMs }) => {
        this.#silence?.close();
        this.#onChange(null);
        this.#logger.warn({ restartMs }, `the rank process ${reason}; starting another`);
        return true;
      },
      graceMs: GRACE_MS,
    });
  }

  async close(): Promise<void> {
    this.#silence?.close();
    await this.#process.close();
  }

  #start(): ChildProcess {
    const child = spawnBound(process.execPath, [fileURLToPath(import.meta.resolve('./rank-process.ts'))], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#logger.info({ pid: child.pid }, 'started the rank process');
    const silence = new Silence(SILENT_AT_START_MS, (silentMs) => {
      this.#logger.error({ pid: child.pid, silentMs }, 'the rank process is stuck; killing it');
      child.kill('SIGKILL');
    });
    this.#silence = silence;
    child.on('message', (message) => {
      const parsed = messageSchema.safeParse(message);
      if (!parsed.success || this.#process.isClosed) return;
      if ('started' in parsed.data) this.#onChange(parsed.data.started);
      else if ('alive' in parsed.data) silence.broken(SILENT_MS);
      else
        this.#logger.error(
          { code: parsed.data.failed.code },
          `the rank could not start: ${parsed.data.failed.message}`,
        );
    });
    child.send(this.#init, (error) => {
      if (error) this.#logger.debug({ error: error.message }, 'the rank process ended before it was told what to be');
    });
    return child;
  }
}
