import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { controlGroups, type ReadFile, readOrNull } from './rank/control-groups.ts';

/** Cores that this process may really use: those of its affinity, or fewer when a control group's quota, rounded down,
 *  grants less. A thread more than that would be stopped for the rest of each period, and the others wait for it. */
export function hostCores(affinity = availableParallelism(), read: ReadFile = readOrNull): number {
  let cores = affinity;
  for (const { version, dir } of controlGroups('cpu', read)) {
    const [quota, period] =
      version === 2
        ? (read(join(dir, 'cpu.max')) ?? '').trim().split(' ')
        : ['cpu.cfs_quota_us', 'cpu.cfs_period_us'].map((name) => read(join(dir, name))?.trim());
    // `max` and -1 stand for none.
    const granted = Number(quota) / Number(period);
    if (granted > 0) cores = Math.min(cores, Math.max(1, Math.floor(granted)));
  }
  return cores;
}
