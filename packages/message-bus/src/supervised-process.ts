import type { ChildProcess } from 'node:child_process';
import { endProcess } from './child-process.ts';

const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5000;
/** What lived this long is started again at once. */
const SETTLED_MS = 10_000;

/** The pauses before something that keeps ending is started again: none after a settled life, growing after short ones. */
export class RestartPause {
  #ms = 0;

  next(livedMs: number): number {
    this.#ms = livedMs > SETTLED_MS ? 0 : Math.min(PAUSE_MS_MAX, this.#ms * 2 + PAUSE_MS_MIN);
    return this.#ms;
  }
}

export interface ProcessEnd {
  /** "was killed by SIGKILL", "exited with 1" or "could not be started: …" */
  readonly reason: string;
  readonly exitCode: number | null;
  /** How long until the next start. */
  readonly restartMs: number;
}

export interface SupervisedProcessOptions {
  start(): ChildProcess;
  /** Hears of each end that `close` did not cause. @returns whether to start another. */
  onEnd(end: ProcessEnd): boolean;
  /** Between SIGTERM and SIGKILL when it is closed. */
  readonly graceMs: number;
}

/** A child process that is started again whenever it ends, as long as its owner wants. */
export class SupervisedProcess {
  readonly #options: SupervisedProcessOptions;
  readonly #pause = new RestartPause();
  #child: ChildProcess | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: SupervisedProcessOptions) {
    this.#options = options;
    this.#start();
  }

  /** Null between two. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Ends it; it is not started again. Resolves when the process is gone. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#child) await endProcess(this.#child, this.#options.graceMs);
  }

  #start(): void {
    const startedMs = performance.now();
    const child = this.#options.start();
    this.#child = child;
    const ended = (reason: string, exitCode: number | null): void => {
      if (this.#child !== child) return;
      this.#child = null;
      if (this.#closed) return;
      const restartMs = this.#pause.next(performance.now() - startedMs);
      if (!this.#options.onEnd({ reason, exitCode, restartMs }) || this.#closed) return;
      this.#timer = setTimeout(() => this.#start(), restartMs);
    };
    // One that could not be started has no exit.
    child.on('error', (error) => child.pid === undefined && ended(`could not be started: ${error.message}`, null));
    child.once('exit', (code, signal) =>
      ended(signal === null ? `exited with ${code}` : `was killed by ${signal}`, code),
    );
  }
}
