import { defineConfig, type ViteUserConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';

const E2E = 'test/e2e/**/*.test.ts';
/** Hold what happens against the clock, or load every core: no other file's mesh runs beside theirs. */
const TIMED = ['cancel', 'commands', 'failure-floor', 'orphans', 'soak'].map((name) => `test/e2e/${name}.test.ts`);
/** Starting a mesh takes seconds, on a busy machine many. */
const mesh = { testTimeout: 120_000, hookTimeout: 120_000 } as const;

const config: ViteUserConfig = defineConfig({
  test: {
    // Machines with few cores run the mesh beside the tests; timings inside tests stay honest with two workers.
    maxWorkers: 2,
    // Only hangs should end here, on a machine however busy.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: { name: 'tidy', include: ['test/tidy/**/*.test.ts'] },
      },
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'native/lib/**/*.test.ts', 'test/bench/**/*.test.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts', 'test/conformance/**/*.test.ts', 'test/simulation/**/*.test.ts'],
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: { name: 'e2e', include: [E2E], exclude: TIMED, ...mesh, sequence: { groupOrder: 2 } },
      },
      {
        extends: true,
        test: { name: 'e2e-timed', include: TIMED, ...mesh, fileParallelism: false, sequence: { groupOrder: 3 } },
      },
    ],
  },
});

export default config;
