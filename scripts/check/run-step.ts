import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Counts } from './reports.ts';

const stepMinutesMax = 30;
const shownLinesMax = 300;

export interface Step {
  /** Names the line and the log file. */
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Counts single tests after the command ended; a step without it counts as one check. */
  readonly readReport?: () => Counts | null;
}

export interface StepResult extends Counts {
  readonly exitedClean: boolean;
}

/** Runs the step and prints its line, and when it failed the end of its output. Output goes to a file, which a process
 *  that the step leaves behind cannot hold open against us. */
export async function runStep(step: Step, logFolder: string): Promise<StepResult> {
  const log = path.join(logFolder, `${step.name}.log`);
  const started = performance.now();
  process.stdout.write(step.name.padEnd(14));
  const exitedClean = await runInto(log, step.command);
  const counts = countsOf(step, exitedClean);
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(8);
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
  const verdict = counts.failed === 0 ? 'ok' : 'FAILED';
  const tests = step.readReport === undefined ? '' : `  ${counts.passed} passed, ${counts.failed} failed${skipped}`;
  console.log(`${seconds} s  ${verdict}${tests}`);
  if (counts.failed > 0) showEnd(log);
  return { ...counts, exitedClean };
}

function countsOf(step: Step, exitedClean: boolean): Counts {
  if (step.readReport === undefined) {
    return exitedClean ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
  }
  const counts = step.readReport() ?? { passed: 0, failed: 0, skipped: 0 };
  // A crash, or an error outside every test, must not pass for want of a failed test.
  return exitedClean || counts.failed > 0 ? counts : { ...counts, failed: 1 };
}

async function runInto(log: string, command: readonly [string, ...string[]]): Promise<boolean> {
  const output = openSync(log, 'w');
  try {
    const [program, ...rest] = command;
    const child = spawn(program, rest, {
      stdio: ['ignore', output, output],
      timeout: stepMinutesMax * 60_000,
      env: { ...process.env, NO_COLOR: '1' },
    });
    const stop = (signal: NodeJS.Signals): void => {
      child.kill(signal);
      process.exit(130);
    };
    process.once('SIGINT', stop).once('SIGTERM', stop);
    const [code] = (await once(child, 'exit')) as [number | null];
    process.off('SIGINT', stop).off('SIGTERM', stop);
    return code === 0;
  } finally {
    closeSync(output);
  }
}

function showEnd(log: string): void {
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  for (const line of lines.slice(-shownLinesMax)) console.log(`  | ${line}`);
  console.log(`  | (the whole log is ${log})`);
}
