import { packStepInput, type StepInput } from '@skein/native';
import { Packr } from 'msgpackr';
import { benchResult, type BenchResult } from './bench-result.ts';
import { median, percentile } from './statistics.ts';
import { StepPlanLink, type StepTimes } from './step-plan-link.ts';

const SEQUENCES = [1, 32];
const CONTEXT = 512;
const BLOCK_SIZE = 16;
const ROUNDS = 10;
const ROUND_TRIPS = 100;
const CALLS_PER_SAMPLE = 500;

const packr = new Packr({ useRecords: false });

/** What a decode step's plan costs between leader and rank when nothing is computed. Medians over rounds in which the two
 *  buses take turns. */
export async function stepPlan(): Promise<BenchResult[]> {
  await using nats = await StepPlanLink.overNats();
  await using local = await StepPlanLink.overLocalBus();
  const results: BenchResult[] = [];
  for (const numSequences of SEQUENCES) {
    const input = decodeStep(numSequences);
    const load = `${numSequences} sequence${numSequences > 1 ? 's' : ''}`;
    const plan = { epoch: 0, step: 1, deadlineMs: 30_000, input: new Uint8Array(packStepInput(input).buffer) };
    const packUs: number[] = [];
    const msgpackUs: number[] = [];
    const overNats: StepTimes[] = [];
    const overLocal: StepTimes[] = [];
    await Promise.all([nats.roundTrip(input), local.roundTrip(input)]);
    for (let round = 0; round < ROUNDS; round++) {
      packUs.push(perCallUs(() => packStepInput(input)));
      msgpackUs.push(perCallUs(() => packr.unpack(packr.pack(plan)) as unknown));
      for (let n = 0; n < ROUND_TRIPS; n++) overNats.push(await nats.roundTrip(input));
      for (let n = 0; n < ROUND_TRIPS; n++) overLocal.push(await local.roundTrip(input));
    }
    const compare = (what: string, percent: number, us: (times: StepTimes) => number): BenchResult =>
      benchResult({
        name: `${what} over NATS, ${load}, p${percent}`,
        unit: 'us',
        value: percentile(overNats.map(us), percent),
        peer: 'local bus',
        peerValue: percentile(overLocal.map(us), percent),
      });
    results.push(
      benchResult({ name: `pack, ${load}`, unit: 'us', value: median(packUs) }),
      benchResult({ name: `msgpack there and back, ${load}`, unit: 'us', value: median(msgpackUs) }),
      compare('plan to rank', 50, (t) => t.planUs),
      compare('plan to rank', 99, (t) => t.planUs),
      compare('plan and result', 50, (t) => t.roundTripUs),
      compare('plan and result', 99, (t) => t.roundTripUs),
    );
  }
  return results;
}

function perCallUs(call: () => unknown): number {
  const startMs = performance.now();
  for (let n = 0; n < CALLS_PER_SAMPLE; n++) call();
  return ((performance.now() - startMs) * 1000) / CALLS_PER_SAMPLE;
}

/** One token of each sequence, all sampled. */
function decodeStep(numSequences: number): StepInput {
  const numBlocks = CONTEXT / BLOCK_SIZE;
  const streams = Array.from({ length: numSequences }, (_, i) => i);
  return {
    step: 1000,
    feedbackStep: 999,
    maxLogprobs: 0,
    rules: [],
    sequences: streams.map((i) => ({
      tokenIds: [-1 - i],
      numComputedTokens: CONTEXT - 1,
      blockIds: Array.from({ length: numBlocks }, (_, b) => i * numBlocks + b),
    })),
    rows: streams.map((i) => ({
      token: i,
      target: null,
      slot: i,
      temperature: 0.7,
      topK: 0,
      topP: 0.9,
      minP: 0,
      seed: 2n ** 63n + BigInt(i),
      choice: 0,
      position: CONTEXT,
      numLogprobs: null,
      ruled: false,
    })),
  };
}
