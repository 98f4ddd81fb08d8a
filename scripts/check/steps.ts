import { rmSync } from 'node:fs';
import path from 'node:path';
import type { Group, Options } from './options.ts';
import { readCtestReport, readVitestReport } from './reports.ts';
import type { Step } from './run-step.ts';

/** The steps of the chosen groups, in the order in which they run. */
export function stepsOf(options: Options, logFolder: string): Step[] {
  const vitest = (project: string, extra: readonly string[]): Step => {
    const report = path.join(logFolder, `${project}.json`);
    rmSync(report, { force: true });
    return {
      name: project,
      command: [
        'vitest',
        'run',
        '--passWithNoTests',
        `--project=${project}`,
        '--reporter=dot',
        '--reporter=json',
        `--outputFile.json=${report}`,
        ...extra,
      ],
      readReport: () => readVitestReport(report),
    };
  };
  const ctest = (name: string, buildFolder: string): Step => {
    const report = path.join(logFolder, `${name}.xml`);
    rmSync(report, { force: true });
    return {
      name,
      command: ['ctest', '--test-dir', buildFolder, '-j2', '--output-on-failure', '--output-junit', report],
      readReport: () => readCtestReport(report),
    };
  };
  const groups: Record<Group, () => Step[]> = {
    lint: () => [
      { name: 'typecheck', command: ['tsc', '-p', 'tsconfig.json'] },
      { name: 'lint', command: ['oxlint'] },
      { name: 'format', command: ['oxfmt', '--check', '.'] },
      vitest('tidy', []),
      { name: 'knip', command: ['knip', '--no-progress'] },
    ],
    cpp: () => [{ name: 'cpp-build', command: ['scripts/build-native', '--tests'] }, ctest('cpp', 'native/build-asan')],
    // Elsewhere than on x86-64 the group above has run the NEON kernels.
    arm64: () =>
      process.arch === 'x64'
        ? [{ name: 'arm64-build', command: ['scripts/build-native-arm64'] }, ctest('arm64', 'native/build-arm64')]
        : [],
    unit: () => [vitest('unit', options.vitestArguments)],
    integration: () => [vitest('integration', options.vitestArguments)],
    e2e: () => [vitest('e2e', ['--project=e2e-timed', ...options.vitestArguments])],
  };
  return options.groups.flatMap((group) => groups[group]());
}
