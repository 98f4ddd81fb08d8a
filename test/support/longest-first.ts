import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** By project: the files that run for longest, longest first. */
const FIRST = [
  'engine/src/simulation.test.ts',
  'integration/fidelity.test.ts',
  'integration/tensor-parallel.test.ts',
  'integration/recording.test.ts',
  'integration/quantized.test.ts',
  'e2e/plan.test.ts',
  'e2e/formation-matrix.test.ts',
  'e2e/lws.test.ts',
  'e2e/doctor.test.ts',
  'e2e/fields.test.ts',
  'e2e/parallel.test.ts',
];
/** Those that wait for most of their time, and have deadlines: beside each other, so that none of them runs beside one that computes. */
const LAST = [
  'message-bus/src/message-bus.local.test.ts',
  'actor/src/actor.test.ts',
  'message-bus/src/message-bus.nats.test.ts',
];

/** Begins with the files that run for longest, so that none of them is left to run alone at the end. By itself vitest knows that only
 *  from its last run, and goes by the size of files in a fresh checkout; but long tests may be short to write. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return [...new Set(sorted.map(({ project }) => project))].flatMap((project) =>
      sorted.filter((file) => file.project === project).toSorted((a, b) => placeOf(a) - placeOf(b)),
    );
  }
}

/** Below 0 for those that begin, above 0 for those that end. */
function placeOf({ moduleId }: TestSpecification): number {
  const isOf = (name: string): boolean => moduleId.endsWith(`/${name}`);
  const first = FIRST.findIndex(isOf);
  return first < 0 ? LAST.findIndex(isOf) + 1 : first - FIRST.length;
}
