import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const ENTRY = fileURLToPath(import.meta.resolve('./busy-loop.ts'));
const SECONDS_MAX = 300;

/** Processes that each keep a core busy, until disposed. */
export class BusyLoops implements AsyncDisposable {
  readonly #children: readonly ChildProcess[];

  static async start(count: number): Promise<BusyLoops> {
    const children = Array.from({ length: count }, () =>
      fork(ENTRY, [String(SECONDS_MAX)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
    );
    await Promise.all(children.map((child) => once(child, 'message')));
    return new BusyLoops(children);
  }

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  get pids(): number[] {
    return this.#children.map((child) => child.pid ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) throw new Error('a busy loop ended before its time');
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      }),
    );
  }
}
