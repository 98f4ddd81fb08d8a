import { ExpertPlacementError } from '../errors.ts';
import { type DegreeReasons, degreeReasons } from './degree-reasons.ts';
import { type DecodeRate, decodeRate } from './decode-rate.ts';
import { chooseFormation, type GivenDegrees } from './formation-choice.ts';
import { type ModelFacts, modelFacts } from './model-facts.ts';
import { RankRecorder } from './rank-program.ts';
import { type Planning, type SizedFormation, sizeFormation } from './sized-formation.ts';
import { balancedStages, type StageBalance, stageBalance } from './stage-balance.ts';

export interface PlanOptions {
  readonly given: GivenDegrees;
  /** Answers a second that are wanted; null uses all devices. */
  readonly qps: number | null;
  /** Of a device's memory, bytes a second. */
  readonly bandwidth: number;
}

/** A formation for a model on given devices, with the arithmetic behind it. */
export interface Recommendation {
  readonly planning: Planning;
  readonly facts: ModelFacts;
  readonly chosen: SizedFormation;
  /** What else was looked at and fits. */
  readonly others: readonly SizedFormation[];
  /** Those of the fewest ranks that hold the model and one sequence. */
  readonly least: SizedFormation;
  readonly reasons: DegreeReasons;
  readonly rate: DecodeRate;
  /** Of the pipeline's stages as they are, and as they would be balanced; null for one stage. */
  readonly balance: { readonly now: StageBalance; readonly best: StageBalance } | null;
}

/** @throws FormationChoiceError when no formation of these devices holds the model, ExpertPlacementError when there are to be copies of
 *  experts, and the model has none. */
export function recommendFormation(planning: Planning, { given, qps, bandwidth }: PlanOptions): Recommendation {
  const recorder = new RankRecorder(planning.checkpoint);
  const { config } = planning.checkpoint.model;
  const facts = modelFacts(config, recorder.whole());
  const { redundantExperts } = planning.load;
  if (redundantExperts > 0 && facts.numExperts === 0) {
    throw new ExpertPlacementError(
      `--num-redundant-experts is ${redundantExperts}, and ${config.architecture} has no experts; leave it out`,
    );
  }
  const sizing = { ...planning, recorder, facts };
  const { chosen: largest, candidates, least } = chooseFormation(sizing, given);
  const rate = decodeRate(planning, facts, largest, bandwidth);
  const groupsForQps = qps === null ? null : Math.ceil(qps / rate.requestsPerSecond);
  const { pipeline, data, isExpertParallel, layerPartition } = largest.degrees;
  const isMore = groupsForQps !== null && groupsForQps < data && given.data === null && !isExpertParallel;
  const chosen = isMore ? sizeFormation(sizing, { ...largest.degrees, data: groupsForQps }) : largest;
  return {
    planning,
    facts,
    chosen,
    others: candidates.filter((candidate) => candidate !== largest),
    least,
    reasons: degreeReasons({ sizing, given, chosen, groupsForQps }),
    rate,
    balance:
      pipeline === 1
        ? null
        : { now: stageBalance(facts.costs, pipeline, layerPartition), best: balancedStages(facts.costs, pipeline) },
  };
}
