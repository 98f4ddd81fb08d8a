import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { loadNative } from '@skein/native';
import { ROOT } from '../support/cluster.ts';

/** Processor, cores, memory and the instruction level that the addon picks here. */
export function hardware(): string {
  const device = loadNative().createDevice({ backend: 'cpu', threads: 1 });
  try {
    const memoryGiB = Math.round(totalmem() / 2 ** 30);
    const model = cpus()[0]?.model.trim() ?? 'unknown processor';
    return `${model}, ${availableParallelism()} cores, ${memoryGiB} GiB, ${device.instructionLevel}`;
  } finally {
    device.close();
  }
}

/** The commit that was measured, with '-dirty' when files differ from it; null outside a repository. */
export function commit(): string | null {
  try {
    const head = git('rev-parse', 'HEAD');
    return git('status', '--porcelain') === '' ? head : `${head}-dirty`;
  } catch {
    return null;
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
}
