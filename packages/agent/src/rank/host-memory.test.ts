import { expect, test } from 'vitest';
import { hostMemory } from './host-memory.ts';

const GIB = 2 ** 30;
const host = { '/proc/meminfo': 'MemTotal:       16777216 kB\nMemFree: 5 kB\nMemAvailable:    8388608 kB\n' };

function memory(files: Readonly<Record<string, string>>): readonly [number, number] {
  const { totalBytes, availableBytes } = hostMemory((file) => files[file] ?? null);
  return [totalBytes / GIB, availableBytes / GIB];
}

test('without a limit it is what the host has', () => {
  expect(memory(host)).toEqual([16, 8]);
  expect(memory({ ...host, '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.max': 'max\n' })).toEqual([16, 8]);
  const v1 = {
    '/proc/self/cgroup': '4:memory:/a\n0::/\n',
    '/sys/fs/cgroup/memory/a/memory.limit_in_bytes': '9223372036854771712\n',
  };
  expect(memory({ ...host, ...v1 })).toEqual([16, 8]);
});

test('a limit of version 2 counts, its own or one above it, and file pages are free', () => {
  const files = {
    ...host,
    '/proc/self/cgroup': '0::/pod/container\n',
    '/sys/fs/cgroup/pod/container/memory.max': 'max\n',
    '/sys/fs/cgroup/pod/memory.max': String(4 * GIB),
    '/sys/fs/cgroup/pod/memory.current': String(3 * GIB),
    '/sys/fs/cgroup/pod/memory.stat': `anon 5\nactive_file ${GIB}\ninactive_file ${GIB}\n`,
  };
  expect(memory(files)).toEqual([4, 3]);
});

test('a limit of version 1 counts', () => {
  const files = {
    ...host,
    '/proc/self/cgroup': '12:cpu,cpuacct:/\n4:memory:/job\n',
    '/sys/fs/cgroup/memory/job/memory.limit_in_bytes': String(2 * GIB),
    '/sys/fs/cgroup/memory/job/memory.usage_in_bytes': String(1.5 * GIB),
    '/sys/fs/cgroup/memory/job/memory.stat': `active_file 7\ntotal_active_file 0\ntotal_inactive_file ${GIB / 2}\n`,
  };
  expect(memory(files)).toEqual([2, 1]);
});

test('this machine has some', () => {
  const { totalBytes, availableBytes } = hostMemory();
  expect(availableBytes).toBeGreaterThan(2 ** 24);
  expect(totalBytes).toBeGreaterThanOrEqual(availableBytes);
});
