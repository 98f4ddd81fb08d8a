import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Keeps this test process on one core, each of vitest's workers on another. Where only one core may run them, ranks hand it over
 *  rather than spin, which is a third of the work. Without taskset all goes as it went, and takes longer. */
export function keepToOneCore(): void {
  const [, list = ''] = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  const cores = list.split(',').flatMap((run) => {
    const [first = 0, last = first] = run.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  const worker = Number(process.env['VITEST_POOL_ID'] ?? 0);
  const core = cores[worker % cores.length] ?? 0;
  spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(core), String(process.pid)]);
}
