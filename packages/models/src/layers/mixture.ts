import type { ValueId } from '@skein/native';
import { z } from 'zod';
import { refusedField } from '../model-config.ts';
import type { ProgramRecorder, RouteOptions } from '../program-recorder.ts';

export const numExperts = z
  .int()
  .min(1)
  .max(2 ** 16);

/** How experts are picked. Plain data, part of a family's config. */
export type Routing = Omit<RouteOptions, 'correctionBias'>;

/** Every expert competes with all others, on the softmax of the router's logits. */
export function greedyRouting(options: Pick<Routing, 'topK' | 'renormalize' | 'scale'>): Routing {
  return { scoring: 'softmax', numGroups: 1, topKGroups: 1, groupScore: 'best', ...options };
}

/** Throws ModelConfigError when `topK` of `experts` cannot be picked. */
export function checkRouting({ topK, numGroups, topKGroups }: Routing, experts: number, file: string): void {
  if (experts % numGroups !== 0)
    throw refusedField(file, { field: 'n_group', value: numGroups, why: `must divide ${experts} experts` });
  if (topKGroups > numGroups)
    throw refusedField(file, { field: 'topk_group', value: topKGroups, why: `there are ${numGroups} groups` });
  const candidates = topKGroups * (experts / numGroups);
  if (topK > candidates)
    throw refusedField(file, {
      field: 'num_experts_per_tok',
      value: topK,
      why: `there are ${candidates} experts to pick from`,
    });
}

export interface MixtureOptions {
  /** Prefix of its parameters; the router is `name.gate`, expert i `name.experts.i`. */
  readonly name: string;
  /** Index in the model. */
  readonly layer: number;
  readonly numExperts: number;
  /** Inner width of an expert. */
  readonly innerSize: number;
  readonly routing: Routing;
  /** Names the router's correction bias; null without one. */
  readonly correctionBias: string | null;
  /** What an expert calls its three projections. */
  readonly projections: { readonly gate: string; readonly up: string; readonly down: string };
}

export const GATED_PROJECTIONS = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' };

/** Sum of the chosen experts' gated feed-forwards, each times its weight. */
export function recordMixture(r: ProgramRecorder, x: ValueId, options: MixtureOptions): ValueId {
  const { name, layer, innerSize, routing, correctionBias, projections } = options;
  const logits = r.linear(x, `${name}.gate`, { width: options.numExperts, bias: false, kind: 'router' });
  const routes = r.route(logits, { ...routing, correctionBias });
  const experts = Array.from({ length: options.numExperts }, (_, id) => ({
    id,
    gate: `${name}.experts.${id}.${projections.gate}.weight`,
    up: `${name}.experts.${id}.${projections.up}.weight`,
    down: `${name}.experts.${id}.${projections.down}.weight`,
  }));
  return r.experts(x, routes, { innerSize, layer, experts });
}
