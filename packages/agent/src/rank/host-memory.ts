import { join } from 'node:path';
import { controlGroups, type ReadFile, readOrNull } from './control-groups.ts';

export interface HostMemory {
  /** What processes here may ever have. */
  readonly totalBytes: number;
  /** What may still be had, pages of files counted as free: the kernel gives them up. */
  readonly availableBytes: number;
}

/** The memory of this host, or of the control group that confines this process when that has less. `read` gives a file's
 *  content, or null when there is none. */
export function hostMemory(read: ReadFile = readOrNull): HostMemory {
  const info = read('/proc/meminfo') ?? '';
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(info)?.[1] ?? 0) * 1024;
  let [totalBytes, availableBytes] = [kib('MemTotal'), kib('MemAvailable')];
  for (const { version, dir } of controlGroups('memory', read)) {
    const names = MEMORY_FILES[version];
    const limitBytes = numberIn(read(join(dir, names.limit)));
    // Version 1 writes a number near 2^63 for none.
    if (limitBytes === null || limitBytes > totalBytes) continue;
    totalBytes = limitBytes;
    const stat = read(join(dir, 'memory.stat')) ?? '';
    const fileBytes = ['active_file', 'inactive_file'].reduce(
      (sum, name) => sum + Number(new RegExp(`^${names.filePrefix}${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0),
      0,
    );
    const usedBytes = Math.max(0, (numberIn(read(join(dir, names.usage))) ?? 0) - fileBytes);
    availableBytes = Math.min(availableBytes, Math.max(0, limitBytes - usedBytes));
  }
  return { totalBytes, availableBytes };
}

/** By version of control groups; `filePrefix` is of the lines of memory.stat that count the groups below too. */
const MEMORY_FILES = {
  1: { limit: 'memory.limit_in_bytes', usage: 'memory.usage_in_bytes', filePrefix: 'total_' },
  2: { limit: 'memory.max', usage: 'memory.current', filePrefix: '' },
} as const;

/** Null for `max` and for no file. */
function numberIn(text: string | null): number | null {
  const digits = /^\d+$/.exec(text?.trim() ?? '');
  return digits === null ? null : Number(digits[0]);
}
