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
  const ctestReport = path.join(logFolder, 'ctest.xml');
  rmSync(ctestReport, { force: true });
  const groups: Record<Group, () => Step[]> = {
    lint: () => [
      { name: 'typecheck', command: ['tsc', '-p', 'tsconfig.json'] },
      { name: 'lint', command: ['oxlint'] },
      { name: 'format', command: ['oxfmt', '--check', '.'] },
      vitest('tidy', []),
      { name: 'knip', command: ['knip', '--no-progress'] },
    ],
    cpp: () => [
      { name: 'cpp-build', command: ['scripts/build-native', '--tests'] },
      {
        name: 'cpp',
        command: ['ctest', '--test-dir', 'native/build-asan', '--output-on-failure', '--output-junit', ctestReport],
        readReport: () => readCtestReport(ctestReport),
      },
    ],
    unit: () => [vitest('unit', options.vitestArguments)],
    integration: () => [vitest('integration', options.vitestArguments)],
    e2e: () => [vitest('e2e', options.vitestArguments)],
  };
  return options.groups.flatMap((group) => groups[group]());
}
