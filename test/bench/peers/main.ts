import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { benchResult, type BenchResult } from '../bench-result.ts';
import { resultTable } from '../result-table.ts';
import { commit, hardware } from '../setup-facts.ts';
import { median } from '../statistics.ts';
import { CASES, type PeerCase, WEIGHTS, type WeightName } from './cases.ts';
import { type PeerRun, runPeers } from './peer-run.ts';
import { peerResult, ratioOf, spread } from './peer-sample.ts';

/** Measures skein beside llama.cpp: all cases, or those named after --only; with --json, standard output is one document.
 *  Usage: main.ts [--json] [--only CASE,…] [--rounds N] */
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
  },
});
const ids = values.only?.split(',') ?? CASES.map(({ id }) => id);
const unknown = ids.find((id) => !CASES.some((spec) => spec.id === id));
const rounds = Number(values.rounds);
if (unknown !== undefined || !Number.isInteger(rounds) || rounds < 1) {
  console.error(
    unknown === undefined
      ? `--rounds is ${values.rounds}; give a number from 1 on`
      : `--only names ${unknown}; the cases are ${CASES.map(({ id }) => id).join(', ')}`,
  );
  process.exit(2);
}

const setup = { commit: commit(), hardware: hardware() };
const runs: { readonly run: PeerRun; readonly cases: readonly PeerCase[] }[] = [];
for (const weights of Object.keys(WEIGHTS) as WeightName[]) {
  const cases = CASES.filter((spec) => spec.weights === weights && ids.includes(spec.id));
  if (cases.length === 0) continue;
  try {
    const run = await runPeers(weights, { cases, rounds, progress: (line) => console.error(`${weights}: ${line}`) });
    runs.push({ run, cases });
  } catch (error) {
    // Other weights are still worth measuring.
    console.error(`${weights} failed:`, error);
    process.exitCode = 1;
  }
}

const results = [
  ...runs.flatMap(({ run, cases }) =>
    cases.map((spec) => peerResult(spec, WEIGHTS[run.weights].peer, run.samples.get(spec.id) ?? [])),
  ),
  ...ceilingResults(),
];
const samples = Object.fromEntries(runs.flatMap(({ run }) => [...run.samples]));
const models = runs.map(({ run: { weights, facts, agreement, idleCoresMax } }) => ({
  weights,
  ...facts,
  agreement,
  idleCoresMax,
}));
if (values.json) {
  console.log(JSON.stringify({ ...setup, rounds, loadavg: loadavg(), results, models, samples }, null, 2));
} else {
  console.log(`commit ${setup.commit ?? 'unknown'}, ${setup.hardware}, ${rounds} rounds\n\n${resultTable(results)}\n`);
  for (const { run, cases } of runs) {
    for (const spec of cases) {
      const ofCase = run.samples.get(spec.id) ?? [];
      const others = Math.max(...ofCase.map(({ foreignCores }) => foreignCores));
      console.log(
        `${spec.name}: ratios ${spread(ofCase.map(ratioOf))}; others took up to ${others.toFixed(2)} cores meanwhile`,
      );
    }
  }
  for (const { weights, skein, peer, agreement: a, idleCoresMax } of models) {
    console.log(
      `${weights}: ${gigabytes(skein.weightBytes)} and ${gigabytes(peer.weightBytes)} of weights; the same likeliest token at ` +
        `${a.sameLikeliest} of ${a.positions} positions, distances of logits differ by up to ${a.gapDifferenceMax.toPrecision(2)} ` +
        `(first to second: ${a.gapMedian.toPrecision(2)}); the resting side took up to ${idleCoresMax.toFixed(2)} cores`,
    );
  }
}

function ceilingResults(): BenchResult[] {
  const ceilings = runs.flatMap(({ run }) => run.ceilings);
  if (ceilings.length === 0) return [];
  const of = (name: string, unit: string, measured: readonly number[]): BenchResult[] =>
    measured.length === 0 ? [] : [benchResult({ name, unit, value: median(measured) })];
  return [
    ...of(
      'read ceiling',
      'GB/s',
      ceilings.map((c) => c.readGBps),
    ),
    ...of(
      'FMA ceiling',
      'GFLOP/s',
      ceilings.map((c) => c.fmaGflops),
    ),
    ...of(
      'int4 ceiling',
      'GOP/s',
      ceilings.map((c) => c.int4Gops),
    ),
    ...of(
      'int8 ceiling',
      'GOP/s',
      ceilings.map((c) => c.int8Gops),
    ),
  ];
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(3)} GB`;
}
