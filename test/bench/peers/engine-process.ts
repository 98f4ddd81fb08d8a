import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Engine } from './engine.ts';
import type { EngineReply } from './engine-server.ts';
import { cpuSeconds } from './processor-time.ts';

const ENTRIES = {
  skein: fileURLToPath(import.meta.resolve('./skein-engine.ts')),
  'llama.cpp': fileURLToPath(import.meta.resolve('./llama-engine.ts')),
} as const;

export type EngineName = keyof typeof ENTRIES;

/** An engine in its own process; calls come one at a time. */
export class EngineProcess implements AsyncDisposable {
  readonly name: EngineName;
  readonly #child: ChildProcess;

  constructor(name: EngineName) {
    this.name = name;
    this.#child = fork(ENTRIES[name], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Processor time of all its threads so far, seconds. */
  cpuSeconds(): number {
    return cpuSeconds(this.pid);
  }

  async call<K extends keyof Engine>(name: K, ...args: Parameters<Engine[K]>): Promise<Awaited<ReturnType<Engine[K]>>> {
    const stop = new AbortController();
    const ended = once(this.#child, 'exit', { signal: stop.signal }).then(([code, signal]) => {
      throw new Error(`${this.name} ended at ${name}: ${String(signal ?? code)}`);
    });
    const answered = once(this.#child, 'message', { signal: stop.signal });
    // Whichever loses the race is told to stop waiting.
    ended.catch(() => {});
    answered.catch(() => {});
    try {
      this.#child.send({ name, args });
      const [reply] = (await Promise.race([answered, ended])) as [EngineReply];
      if ('error' in reply) throw new Error(`${this.name} failed at ${name}: ${reply.error}`);
      return reply.value as Awaited<ReturnType<Engine[K]>>;
    } finally {
      stop.abort();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.disconnect();
    await ended;
  }
}
