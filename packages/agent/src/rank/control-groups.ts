import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Gives a file's content, or null when there is none. */
export type ReadFile = (file: string) => string | null;

export interface ControlGroup {
  readonly version: 1 | 2;
  /** Where its files lie. */
  readonly dir: string;
}

/** The groups of `controller` that this process is in, of versions 2 and 1, from its own up to the root: any of them may
 *  set a limit. */
export function controlGroups(controller: 'memory' | 'cpu', read: ReadFile): ControlGroup[] {
  const groups: ControlGroup[] = [];
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    const isV2 = path !== '' && controllers === '';
    if (!isV2 && !controllers.split(',').includes(controller)) continue;
    const root = isV2 ? '/sys/fs/cgroup' : `/sys/fs/cgroup/${controller}`;
    for (let at = path; ; at = dirname(at)) {
      groups.push({ version: isV2 ? 2 : 1, dir: join(root, at) });
      if (at === '/') break;
    }
  }
  return groups;
}

export function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // Most hosts have one version of control groups only.
    return null;
  }
}
