import { expect, test } from 'vitest';
import { hostCores } from './host-cores.ts';

const cores = (files: Readonly<Record<string, string>>): number => hostCores(8, (file) => files[file] ?? null);

test('without a quota they are those of the affinity', () => {
  expect(cores({})).toBe(8);
  expect(cores({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': 'max 100000\n' })).toBe(8);
  expect(cores({ '/proc/self/cgroup': '1:cpu:/a\n', '/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us': '-1\n' })).toBe(8);
});

test('a quota of version 2 counts, of its own group or one above, rounded down', () => {
  const files = {
    '/proc/self/cgroup': '0::/pod/container\n',
    '/sys/fs/cgroup/pod/container/cpu.max': 'max 100000\n',
    '/sys/fs/cgroup/pod/cpu.max': '250000 100000\n',
  };
  expect(cores(files)).toBe(2);
});

test('a quota of version 1 counts, and leaves one core at least', () => {
  const files = {
    '/proc/self/cgroup': '4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n',
    '/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us': '50000\n',
    '/sys/fs/cgroup/cpu/job/cpu.cfs_period_us': '100000\n',
  };
  expect(cores(files)).toBe(1);
});

test('a quota above the affinity changes nothing', () => {
  expect(cores({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': '1600000 100000\n' })).toBe(8);
});
