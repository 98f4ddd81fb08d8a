import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Experts, Topology } from '@skein/protocol';
import OpenAI from 'openai';

export const ROOT: string = fileURLToPath(new URL('../..', import.meta.url));
export const TINY_CHAT = `${ROOT}examples/tiny-chat`;
const SKEIN = `${ROOT}packages/cli/bin/skein`;

/** A running `skein …` (or any command), with what it has printed. */
export class Launched implements AsyncDisposable {
  readonly child: ChildProcess;
  output = '';

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.child = spawn(command, args, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (data: Buffer) => (this.output += data.toString()));
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the process did not start');
    return this.child.pid;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  exit(): Promise<number | null> {
    if (this.ended) return Promise.resolve(this.child.exitCode);
    return new Promise((resolve) => this.child.once('exit', (code) => resolve(code)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return;
    const exit = this.exit();
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await exit;
    clearTimeout(timer);
  }
}

export function skein(args: readonly string[], env: Readonly<Record<string, string>> = {}): Launched {
  return new Launched(SKEIN, args, env);
}

/** A server of ours with its URL. */
export interface Served extends AsyncDisposable {
  readonly process: Launched;
  readonly url: string;
}

export async function up(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Promise<Served> {
  return serving((port) => skein(['up', '--port', String(port), ...args], env));
}

export async function serve(args: readonly string[] = []): Promise<Served> {
  return serving((port) => skein(['serve', TINY_CHAT, '--port', String(port), ...args]));
}

export async function serving(start: (port: number) => Launched): Promise<Served> {
  const port = await freePort();
  const process = start(port);
  const url = `http://127.0.0.1:${port}`;
  try {
    await untilReady(url, process);
  } catch (error) {
    await process[Symbol.asyncDispose]();
    throw error;
  }
  return { process, url, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() };
}

export async function untilReady(url: string, process: Launched | null, deadlineMs = 60_000): Promise<void> {
  await until(`${url}/readyz`, deadlineMs, async () => {
    if (process?.ended) throw new Error(`it ended with ${process.child.exitCode}:\n${process.output.slice(-4000)}`);
    return (await fetch(`${url}/readyz`).catch(() => null))?.status === 200;
  }).catch((error: Error) => {
    throw new Error(`${error.message}\n${process?.output.slice(-4000) ?? ''}`);
  });
}

/** Polls until `check` holds. */
export async function until(what: string, deadlineMs: number, check: () => Promise<boolean> | boolean): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!(await check())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function client(url: string): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 60_000 });
}

export async function topology(url: string): Promise<Topology> {
  return (await (await fetch(`${url}/v1/skein/topology`)).json()) as Topology;
}

/** What the experts of a leader's group have computed. */
export async function experts(url: string): Promise<Experts['groups'][number]> {
  const { groups } = (await (await fetch(`${url}/v1/skein/experts`)).json()) as Experts;
  const [group] = groups;
  if (group === undefined) throw new Error('no group tells of its experts');
  return group;
}

/** A free TCP port of loopback that no connection can take as its own end before the server under test binds it: one below those the kernel chooses from. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * (FIRST_KERNEL_PORT - FIRST_PORT));
    if (await isFree(port)) return port;
  }
}

const FIRST_PORT = 10_000;
const FIRST_KERNEL_PORT = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0]);

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

export interface ProcessInfo {
  readonly pid: number;
  readonly ppid: number;
  readonly command: string;
}

/** Live processes below `root`, itself included; zombies count as gone. */
export function descendants(root: number): ProcessInfo[] {
  const all = processes();
  const found = new Set([root]);
  for (let grew = true; grew;) {
    grew = false;
    for (const { pid, ppid } of all) {
      if (found.has(ppid) && !found.has(pid)) grew = Boolean(found.add(pid));
    }
  }
  return all.filter(({ pid }) => found.has(pid));
}

export function alive(pid: number): boolean {
  return processes().some((p) => p.pid === pid);
}

function processes(): ProcessInfo[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state === 'Z' || state === 'X') return [];
      return [
        {
          pid: Number(name),
          ppid: Number(ppid),
          command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' '),
        },
      ];
    } catch {
      // It ended while we looked.
      return [];
    }
  });
}
