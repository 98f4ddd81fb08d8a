import { type ExpertPlacement, mixturesOf, placeMixtures, readExpertLoads } from '@skein/models';
import type { Op } from '@skein/native';
import { ConfigError } from '../errors.ts';
import { expertReplicas } from '../group-shape.ts';
import type { NodeOptions } from '../node-options.ts';

/** Where the experts of each layer are, which options ask for; else they lie in runs.
 *  @param model recorded whole. @throws ConfigError for one without experts, ExpertLoadError, ExpertPlacementError. */
export async function expertPlacements(
  {
    numRedundantExperts: redundant,
    expertLoad,
    shape,
  }: Pick<NodeOptions, 'numRedundantExperts' | 'expertLoad' | 'shape'>,
  model: { readonly architecture: string; readonly ops: readonly Op[] },
): Promise<ExpertPlacement[]> {
  const mixtures = mixturesOf(model.ops);
  if (mixtures.length === 0) {
    const flag = expertLoad === null ? `--num-redundant-experts is ${redundant}` : `--expert-load is ${expertLoad}`;
    throw new ConfigError('ERR_OPTION', `${flag}, and ${model.architecture} has no experts; leave it out`);
  }
  const loads = expertLoad === null ? null : await readExpertLoads(expertLoad, mixtures);
  const ranks = shape.tensorSize * expertReplicas(shape);
  return placeMixtures(mixtures, { ranks, redundant, loads });
}
