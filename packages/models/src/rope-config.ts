import { z } from 'zod';
import { ModelConfigError } from './errors.ts';
import { parseFields } from './json-file.ts';
import { refusedField } from './model-config.ts';

/** How angles of rotary embeddings follow from positions; one member for each scaling of Hugging Face's that is served. */
export type RopeScaling =
  | { readonly type: 'default' }
  | { readonly type: 'linear' | 'dynamic'; readonly factor: number }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalMaxPositionEmbeddings: number | null;
      readonly attentionFactor: number | null;
      readonly mscale: number | null;
      readonly mscaleAllDim: number | null;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
    }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    }
  | {
      readonly type: 'longrope';
      /** One for each pair of components. */
      readonly shortFactor: readonly number[];
      readonly longFactor: readonly number[];
      readonly factor: number | null;
      readonly originalMaxPositionEmbeddings: number | null;
      readonly attentionFactor: number | null;
    };

export interface RopeConfig {
  readonly theta: number;
  /** How many of a head's components turn, from the first on. */
  readonly rotaryDim: number;
  readonly scaling: RopeScaling;
}

const ROPE_TYPES = ['default', 'linear', 'dynamic', 'yarn', 'llama3', 'longrope'];

const positions = z
  .int()
  .min(1)
  .max(2 ** 27);
const factor = z.number().min(1).max(1e6);
const positive = z.number().gt(0).max(1e6);
const theta = z.number().gt(1).max(1e15);

const scalingSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('default') }),
  z.object({ type: z.literal('linear'), factor }),
  z.object({ type: z.literal('dynamic'), factor }),
  z.object({
    type: z.literal('yarn'),
    factor,
    original_max_position_embeddings: positions.nullish(),
    attention_factor: positive.nullish(),
    mscale: z.number().min(0).max(1e6).nullish(),
    mscale_all_dim: z.number().min(0).max(1e6).nullish(),
    beta_fast: z.number().min(0).max(1e6).nullish(),
    beta_slow: z.number().min(0).max(1e6).nullish(),
    truncate: z.boolean().nullish(),
  }),
  z.object({
    type: z.literal('llama3'),
    factor,
    low_freq_factor: positive,
    high_freq_factor: positive,
    original_max_position_embeddings: positions,
  }),
  z.object({
    type: z.literal('longrope'),
    short_factor: z.array(positive).max(1024),
    long_factor: z.array(positive).max(1024),
    factor: factor.nullish(),
    original_max_position_embeddings: positions.nullish(),
    attention_factor: positive.nullish(),
  }),
]);

const innerSchema = z.object({
  rope_theta: theta.nullish(),
  partial_rotary_factor: z.number().gt(0).max(1).nullish(),
});

const fieldsSchema = innerSchema.extend({
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  original_max_position_embeddings: positions.nullish(),
});

export interface RopeOptions {
  readonly headDim: number;
  /** Whether the family turns only part of a head when config.json says so. */
  readonly partial: 'served' | 'refused';
}

/** Reads `rope_theta` with `rope_scaling` (its kind under `rope_type` or `type`), or `rope_parameters`, which holds all. */
export function parseRopeConfig(config: unknown, file: string, options: RopeOptions): RopeConfig {
  const where = { file, ErrorClass: ModelConfigError };
  const fields = parseFields(fieldsSchema, config, where);
  const source = fields.rope_parameters ?? fields.rope_scaling ?? {};
  const fieldName = fields.rope_parameters ? 'rope_parameters' : 'rope_scaling';
  const perLayer = Object.keys(source).find((key) => isObject(source[key]));
  if (perLayer !== undefined) {
    const why = 'tables that differ by layer are not served for this family';
    throw refusedField(file, { field: `${fieldName}.${perLayer}`, value: source[perLayer], why });
  }
  const named = source['rope_type'] ?? source['type'] ?? 'default';
  // The older name.
  const type = named === 'su' ? 'longrope' : named;
  if (typeof type !== 'string' || !ROPE_TYPES.includes(type)) {
    throw new ModelConfigError(
      `${file}: ${fieldName}.rope_type is ${JSON.stringify(type)}; served are ${ROPE_TYPES.join(', ')}`,
      { details: { file, field: `${fieldName}.rope_type`, value: type } },
    );
  }
  const schema = z.object({ [fieldName]: z.intersection(scalingSchema, innerSchema) });
  const inner = parseFields(schema, { [fieldName]: { ...source, type } }, where)[fieldName];
  const share = inner?.partial_rotary_factor ?? fields.partial_rotary_factor ?? 1;
  const rotaryDim = rotaryDimOf(share, file, options);
  const scaling = scalingOf(inner, file, fields.original_max_position_embeddings ?? null);
  checkWidth(scaling, rotaryDim, (field, value, why) => refusedField(file, { field, value, why }));
  return { theta: inner?.rope_theta ?? fields.rope_theta ?? 10000, rotaryDim, scaling };
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function rotaryDimOf(share: number, file: string, { headDim, partial }: RopeOptions): number {
  const field = { field: 'partial_rotary_factor', value: share };
  if (share !== 1 && partial === 'refused')
    throw refusedField(file, { ...field, why: 'only 1 (the whole head) is served' });
  const rotaryDim = Math.trunc(headDim * share);
  if (rotaryDim < 2 || rotaryDim % 2 !== 0)
    throw refusedField(file, { ...field, why: `of a head of ${headDim} that is no even number` });
  return rotaryDim;
}

function checkWidth(
  scaling: RopeScaling,
  rotaryDim: number,
  refuse: (field: string, value: number, why: string) => ModelConfigError,
): void {
  if (scaling.type === 'dynamic' && rotaryDim === 2)
    throw refuse('head_dim', rotaryDim, 'dynamic rope scaling needs at least 4');
  if (scaling.type !== 'longrope') return;
  const pairs = rotaryDim / 2;
  const short = scaling.shortFactor.length;
  const long = scaling.longFactor.length;
  if (short !== pairs) throw refuse('short_factor', short, `has so many entries; ${pairs} are needed`);
  if (long !== pairs) throw refuse('long_factor', long, `has so many entries; ${pairs} are needed`);
}

function scalingOf(
  fields: z.infer<typeof scalingSchema> | undefined,
  file: string,
  originalMaxPositionEmbeddings: number | null,
): RopeScaling {
  if (fields === undefined || fields.type === 'default') return { type: 'default' };
  if (fields.type === 'linear' || fields.type === 'dynamic') return { type: fields.type, factor: fields.factor };
  if (fields.type === 'longrope') {
    return {
      type: 'longrope',
      shortFactor: fields.short_factor,
      longFactor: fields.long_factor,
      factor: fields.factor ?? null,
      originalMaxPositionEmbeddings: fields.original_max_position_embeddings ?? originalMaxPositionEmbeddings,
      attentionFactor: fields.attention_factor ?? null,
    };
  }
  if (fields.type === 'llama3') {
    if (fields.low_freq_factor >= fields.high_freq_factor) {
      throw new ModelConfigError(
        `${file}: rope low_freq_factor ${fields.low_freq_factor} must be below high_freq_factor ${fields.high_freq_factor}`,
        {
          details: { file, field: 'low_freq_factor', value: fields.low_freq_factor },
        },
      );
    }
    return {
      type: 'llama3',
      factor: fields.factor,
      lowFreqFactor: fields.low_freq_factor,
      highFreqFactor: fields.high_freq_factor,
      originalMaxPositionEmbeddings: fields.original_max_position_embeddings,
    };
  }
  return {
    type: 'yarn',
    factor: fields.factor,
    originalMaxPositionEmbeddings: fields.original_max_position_embeddings ?? null,
    attentionFactor: fields.attention_factor ?? null,
    mscale: fields.mscale ?? null,
    mscaleAllDim: fields.mscale_all_dim ?? null,
    // Zero means unset, as in transformers.
    betaFast: fields.beta_fast || 32,
    betaSlow: fields.beta_slow || 1,
    truncate: fields.truncate ?? true,
  };
}
