import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type PlantedBug, plantedBugs } from './planted-bugs.ts';
import { simulate } from './simulation.ts';

/** Seeds that a worker runs between two reports. */
const CHUNK = 1000;

type Report = { readonly totals: Record<string, number> } | { readonly failure: string };

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000000' },
    first: { type: 'string', default: '1' },
    workers: { type: 'string', default: String(availableParallelism()) },
    seed: { type: 'string' },
    bug: { type: 'string' },
    worker: { type: 'boolean', default: false },
  },
});

function wholeNumber(name: 'seeds' | 'first' | 'workers' | 'seed', text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new Error(`--${name} is ${text}; it must be a whole number`);
}

function schedulerClass(bug: string | undefined): (typeof plantedBugs)[PlantedBug] | undefined {
  if (bug === undefined) return undefined;
  if (Object.hasOwn(plantedBugs, bug)) return plantedBugs[bug as PlantedBug];
  throw new Error(`--bug is ${bug}; it must be one of: ${Object.keys(plantedBugs).join('; ')}`);
}

function add(totals: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, n] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + n;
}

/** Runs the seeds it is sent, a first one and a count at a time, until its parent disconnects. */
function work(): void {
  process.on('message', ({ first, count }: { first: number; count: number }) => {
    const totals: Record<string, number> = { seeds: 0 };
    let report: Report = { totals };
    try {
      for (let seed = first; seed < first + count; seed++) add(totals, { seeds: 1, ...simulate(seed) });
    } catch (error) {
      report = { failure: error instanceof Error ? error.message : String(error) };
    }
    process.send?.(report);
  });
}

async function runAll(first: number, numSeeds: number, numWorkers: number): Promise<void> {
  const totals: Record<string, number> = {};
  const failures: string[] = [];
  const startedMs = performance.now();
  const end = first + numSeeds;
  let next = first;
  const hand = (worker: ChildProcess): void => {
    if (next >= end || failures.length > 0) return worker.disconnect();
    const count = Math.min(CHUNK, end - next);
    worker.send({ first: next, count });
    next += count;
  };
  const run = async (): Promise<void> => {
    const worker = fork(import.meta.filename, ['--worker']);
    const { promise, resolve } = Promise.withResolvers<void>();
    let isDone = false;
    worker.on('message', (report: Report) => {
      if ('failure' in report) failures.push(report.failure);
      else add(totals, report.totals);
      const seconds = Math.round((performance.now() - startedMs) / 1000);
      if ((totals.seeds ?? 0) % (10 * CHUNK) === 0) process.stdout.write(`${totals.seeds} seeds in ${seconds} s\n`);
      hand(worker);
    });
    worker.on('disconnect', () => (isDone = true));
    worker.on('exit', (code) => {
      if (!isDone || code !== 0) failures.push(`a worker ended with ${code}`);
      resolve();
    });
    hand(worker);
    await promise;
  };
  await Promise.all(Array.from({ length: numWorkers }, run));
  process.stdout.write(`${JSON.stringify(totals)}\n`);
  for (const failure of failures) {
    const seed = /^seed (\d+)/.exec(failure)?.[1];
    process.stderr.write(`${failure}\n${seed ? `replay: npm run simulate -- --seed ${seed}\n` : ''}`);
  }
  process.exitCode = failures.length > 0 ? 1 : 0;
}

if (values.worker) work();
else if (values.seed !== undefined) {
  const counts = simulate(wholeNumber('seed', values.seed), schedulerClass(values.bug));
  process.stdout.write(`${JSON.stringify(counts)}\n`);
} else {
  const [first, seeds] = [wholeNumber('first', values.first), wholeNumber('seeds', values.seeds)];
  await runAll(first, seeds, wholeNumber('workers', values.workers));
}
