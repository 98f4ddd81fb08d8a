import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface HostMemory {
  /** What processes here may ever have. */
  readonly totalBytes: number;
  /** What may still be had, pages of files counted as free: the kernel gives them up. */
  readonly availableBytes: number;
}

/** The memory of this host, or of the control group that confines this process when that has less. `read` gives a file's
 *  content, or null when there is none. */
export function hostMemory(read: (file: string) => string | null = readOrNull): HostMemory {
  const info = read('/proc/meminfo') ?? '';
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(info)?.[1] ?? 0) * 1024;
  let [totalBytes, availableBytes] = [kib('MemTotal'), kib('MemAvailable')];
  for (const group of controlGroups(read('/proc/self/cgroup') ?? '')) {
    const { limit, usage, filePrefix } = group;
    const limitBytes = numberIn(read(limit));
    // Version 1 writes a number near 2^63 for none.
    if (limitBytes === null || limitBytes > totalBytes) continue;
    totalBytes = limitBytes;
    const stat = read(join(dirname(limit), 'memory.stat')) ?? '';
    const fileBytes = ['active_file', 'inactive_file'].reduce(
      (sum, name) => sum + Number(new RegExp(`^${filePrefix}${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0),
      0,
    );
    const usedBytes = Math.max(0, (numberIn(read(usage)) ?? 0) - fileBytes);
    availableBytes = Math.min(availableBytes, Math.max(0, limitBytes - usedBytes));
  }
  return { totalBytes, availableBytes };
}

interface ControlGroup {
  readonly limit: string;
  readonly usage: string;
  /** Of the lines of memory.stat that count the groups below too. */
  readonly filePrefix: string;
}

/** The groups this process is in, of versions 2 and 1, from its own up to the root: any of them may set a limit. */
function controlGroups(own: string): ControlGroup[] {
  const groups: ControlGroup[] = [];
  for (const line of own.split('\n')) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    const isV2 = path !== '' && controllers === '';
    if (!isV2 && !controllers.split(',').includes('memory')) continue;
    const root = isV2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
    for (let at = path; ; at = dirname(at)) {
      const dir = join(root, at);
      groups.push(
        isV2
          ? { limit: join(dir, 'memory.max'), usage: join(dir, 'memory.current'), filePrefix: '' }
          : {
              limit: join(dir, 'memory.limit_in_bytes'),
              usage: join(dir, 'memory.usage_in_bytes'),
              filePrefix: 'total_',
            },
      );
      if (at === '/') break;
    }
  }
  return groups;
}

/** Null for `max` and for no file. */
function numberIn(text: string | null): number | null {
  const digits = /^\d+$/.exec(text?.trim() ?? '');
  return digits === null ? null : Number(digits[0]);
}

function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // Most hosts have one version of control groups only.
    return null;
  }
}
