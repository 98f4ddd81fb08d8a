// Runs the checks and tests in order, one line each, to the end even when one fails; then prints the sums.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { parseOptions } from './options.ts';
import { runStep, type StepResult } from './run-step.ts';
import { stepsOf } from './steps.ts';

const root = path.resolve(import.meta.dirname, '../..');
const logFolder = path.join(root, '.skein/log');

process.chdir(root);
mkdirSync(logFolder, { recursive: true });
const options = parseOptions(process.argv.slice(2));
const results: StepResult[] = [];
for (const step of stepsOf(options, logFolder)) {
  results.push(await runStep(step, logFolder));
}
const sum = (count: (result: StepResult) => number): number =>
  results.reduce((total, result) => total + count(result), 0);
const failed = sum((result) => result.failed);
const skipped = sum((result) => result.skipped);
console.log(`\n${sum((result) => result.passed)} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed > 0 ? 1 : 0;
