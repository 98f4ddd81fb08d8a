import { FormationChoiceError } from '../errors.ts';
import type { Degrees } from './rank-program.ts';
import { type Planning, type SizedFormation, sizeFormation, type Sizing, usableBytes } from './sized-formation.ts';

/** More devices are taken while weights would have more than this part of each: they are read for every token, and the KV cache
 *  lives on what they leave; */
export const WEIGHT_SHARE_MAX: number = 1 / 3;
/** or while a group would hold fewer sequences than this. */
export const SEQUENCES_MIN = 16;

/** Stages that are looked at for a model which does not fit the devices that there are. */
const STAGES_MAX = 64;

/** Degrees that were given; null ones are to be chosen. */
export interface GivenDegrees {
  readonly tensor: number | null;
  readonly pipeline: number | null;
  readonly data: number | null;
  /** Whether replicas of a mixture share their experts in any case. */
  readonly isExpertParallel: boolean;
  readonly layerPartition: readonly number[] | null;
}

export interface FormationChoice {
  readonly chosen: SizedFormation;
  /** What was looked at and fits, the chosen one included. */
  readonly candidates: readonly SizedFormation[];
  /** Those of the fewest ranks that hold the model and one sequence. */
  readonly least: SizedFormation;
}

/** Chooses degrees by the rules of thumb: tensor parallel first, inside a host, until the model has room; pipeline parallel when
 *  it spans hosts; the experts of a mixture over all devices where one copy leaves some, else whole replicas. Where no formation has
 *  room to spare the one that holds most sequences is taken. Ranks on the CPUs of one host share its memory and bandwidth, which
 *  replicas would need once each: they are all tensor parallel, or stages where heads do not divide.
 *  @throws FormationChoiceError when nothing fits, naming what would do. */
export function chooseFormation(sizing: Sizing, given: GivenDegrees): FormationChoice {
  const { devices, facts } = sizing;
  const looked: SizedFormation[] = [];
  const firstOf = (degrees: Iterable<Degrees>, isGood: (formation: SizedFormation) => boolean) => {
    for (const one of degrees) {
      const sized = sizeFormation(sizing, one);
      looked.push(sized);
      if (isGood(sized)) return sized;
    }
    return null;
  };
  const roomy = (formation: SizedFormation): boolean => hasRoom(formation, sizing);

  const onCpus = devices.kind === 'cpu';
  const copies = firstOf(onCpus ? cpuDegrees(sizing, given) : copiedDegrees(sizing, given), (f) =>
    onCpus ? f.fits : roomy(f),
  );
  const mixes = facts.numExperts > 0 && !onCpus && (copies?.degrees.data ?? 2) > 1;
  // Tensor ranks keep copies of a latent cache: there what has room first need not hold most.
  const isLatent = facts.numKVHeads === null;
  const spread = mixes ? firstOf(spreadDegrees(sizing, given), (f) => !isLatent && roomy(f)) : null;
  const candidates = looked.filter(({ fits }) => fits);
  const chosen = spread ?? (mixes && isLatent ? null : copies) ?? mostSequences(candidates);
  const least = leastRanks(candidates) ?? firstFit(sizing, given);
  if (chosen === null || least === null) throw tooLarge(sizing, least);
  return { chosen, candidates, least };
}

export function hasRoom({ fits, weightShare, sequences, degrees }: SizedFormation, { load }: Planning): boolean {
  const wanted = Math.min(SEQUENCES_MIN, load.limits.maxSeqs);
  return fits && weightShare <= WEIGHT_SHARE_MAX && sequences / degrees.data >= wanted;
}

/** Ranks that hold one model together. */
export function groupRanks({ tensor, pipeline }: Degrees): number {
  return tensor * pipeline;
}

/** Sizes that divide a host and the heads, smallest first. */
export function tensorSizes({ devices, facts: { numHeads } }: Sizing, given: number | null): number[] {
  if (given !== null) return [given];
  const host = Math.min(devices.perHost, devices.count);
  return Array.from({ length: host }, (_, i) => i + 1).filter((t) => host % t === 0 && numHeads % t === 0);
}

/** With replicas on what one group leaves. */
function* copiedDegrees(sizing: Sizing, given: GivenDegrees): Generator<Degrees> {
  const {
    devices: { count },
    facts,
  } = sizing;
  const sizes = tensorSizes(sizing, given.tensor);
  const degrees = (tensor: number, pipeline: number): Degrees[] => {
    const data = given.data ?? Math.floor(count / (tensor * pipeline));
    const isPossible = data >= 1 && tensor * pipeline * data <= count && pipeline <= facts.numLayers;
    return isPossible
      ? [{ ...given, tensor, pipeline, data, isExpertParallel: sharesExperts(sizing, given, data) }]
      : [];
  };
  for (const tensor of sizes) yield* degrees(tensor, given.pipeline ?? 1);
  const whole = sizes.at(-1) ?? 1;
  if (given.pipeline !== null) return;
  for (let pipeline = Math.max(2, leastStages(sizing, whole)); pipeline <= count / whole; pipeline++)
    yield* degrees(whole, pipeline);
}

/** With one set of experts for the attentions of all groups; never more groups than experts. */
function* spreadDegrees(sizing: Sizing, given: GivenDegrees): Generator<Degrees> {
  const {
    devices: { count },
    facts,
  } = sizing;
  const pipeline = given.pipeline ?? 1;
  for (const tensor of tensorSizes(sizing, given.tensor)) {
    const data = given.data ?? Math.floor(count / (tensor * pipeline));
    if (data > 1 && data <= facts.numExperts && tensor * pipeline * data <= count)
      yield { ...given, tensor, pipeline, data, isExpertParallel: true };
  }
}

/** Fewer cannot hold the weights. */
function leastStages({ devices, facts }: Sizing, tensor: number): number {
  return Math.ceil(facts.weightBytes / (tensor * usableBytes(devices)));
}

function* cpuDegrees(sizing: Sizing, given: GivenDegrees): Generator<Degrees> {
  const {
    devices: { count },
    facts,
  } = sizing;
  for (const tensor of tensorSizes(sizing, given.tensor).reverse()) {
    const data = given.data ?? 1;
    const pipeline = given.pipeline ?? Math.max(1, Math.floor(count / (tensor * data)));
    if (tensor * pipeline * data <= count && pipeline <= facts.numLayers)
      yield { ...given, tensor, pipeline, data, isExpertParallel: sharesExperts(sizing, given, data) };
  }
}

function sharesExperts({ facts }: Sizing, { isExpertParallel }: GivenDegrees, data: number): boolean {
  return isExpertParallel && data > 1 && facts.numExperts > 0;
}

function mostSequences(formations: readonly SizedFormation[]): SizedFormation | null {
  return formations.reduce<SizedFormation | null>(
    (best, one) => (best === null || one.sequences > best.sequences ? one : best),
    null,
  );
}

function leastRanks(formations: readonly SizedFormation[]): SizedFormation | null {
  const ranks = ({ degrees }: SizedFormation): number =>
    groupRanks(degrees) * (degrees.isExpertParallel ? degrees.data : 1);
  return formations.reduce<SizedFormation | null>(
    (best, one) => (best === null || ranks(one) < ranks(best) ? one : best),
    null,
  );
}

/** On as many hosts as it takes. */
function firstFit(sizing: Sizing, given: GivenDegrees): SizedFormation | null {
  const { devices, facts } = sizing;
  const hosts = { ...sizing, devices: { ...devices, count: devices.perHost } };
  const tensor = tensorSizes(hosts, given.tensor).at(-1) ?? 1;
  const [first, last] =
    given.pipeline === null ? [leastStages(hosts, tensor), STAGES_MAX] : [given.pipeline, given.pipeline];
  for (let pipeline = first; pipeline <= Math.min(last, facts.numLayers); pipeline++) {
    const sized = sizeFormation(hosts, { ...given, tensor, pipeline, data: 1, isExpertParallel: false });
    if (sized.fits) return sized;
  }
  return null;
}

function tooLarge({ checkpoint, devices, load }: Planning, least: SizedFormation | null): FormationChoiceError {
  const gib = (devices.memoryBytes / 2 ** 30).toFixed(1);
  const what = `${checkpoint.name} and one sequence of ${load.context} tokens do not fit ${devices.count} devices of ${gib} GiB`;
  const details = { devices: devices.count, needed: least === null ? null : groupRanks(least.degrees) };
  if (least === null)
    return new FormationChoiceError(
      `${what}, however many there are; lower --context or --max-num-batched-tokens, or take larger devices`,
      { details },
    );
  const { tensor, pipeline } = least.degrees;
  return new FormationChoiceError(
    `${what}; ${tensor * pipeline} would do (tensor ${tensor}, pipeline ${pipeline}), or --quantization, a smaller --context, larger devices`,
    { details },
  );
}
