import { parseArgs } from 'node:util';
import type { BenchGroup, BenchResult } from './bench-result.ts';
import { exactSums } from './exact-sums.ts';
import { formations } from './formations.ts';
import { hostile } from './hostile.ts';
import { offline } from './offline.ts';
import { online } from './online.ts';
import { planMemory } from './plan-memory.ts';
import { prefixCache } from './prefix-cache.ts';
import { resultTable } from './result-table.ts';
import { router } from './router.ts';
import { commit, hardware } from './setup-facts.ts';
import { startUp } from './start-up.ts';
import { stepPlan } from './step-plan.ts';

/** Measures the groups named after --only, or all; with --json, standard output is one document. */
const GROUPS: Readonly<Record<string, BenchGroup>> = {
  offline,
  online,
  formations,
  'exact-sums': exactSums,
  'plan-memory': planMemory,
  'prefix-cache': prefixCache,
  'start-up': startUp,
  'step-plan': stepPlan,
  router,
  hostile,
};

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false }, only: { type: 'string' } } });
const names = values.only?.split(',') ?? Object.keys(GROUPS);
const unknown = names.find((name) => !Object.hasOwn(GROUPS, name));
if (unknown !== undefined) {
  console.error(`--only names ${unknown}; the groups are ${Object.keys(GROUPS).join(', ')}`);
  process.exit(2);
}

const setup = { commit: commit(), hardware: hardware() };
const results: BenchResult[] = [];
for (const name of names) {
  try {
    results.push(...((await GROUPS[name]?.((line) => console.error(`${name}: ${line}`))) ?? []));
  } catch (error) {
    // The other groups are still worth measuring.
    console.error(`${name} failed:`, error);
    process.exitCode = 1;
  }
}
if (values.json) console.log(JSON.stringify({ ...setup, results }, null, 2));
else console.log(`commit ${setup.commit ?? 'unknown'}, ${setup.hardware}\n\n${resultTable(results)}`);
