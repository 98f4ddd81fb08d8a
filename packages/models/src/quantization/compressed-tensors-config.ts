import { z } from 'zod';
import type { CompressedTensors, Scheme } from './compressed-tensors.ts';
import { blockShapeSchema } from './fp8.ts';
import { groupSize } from './gptq.ts';
import { REGEX_PREFIX, targetRegex } from './target.ts';

const FORMATS = ['pack-quantized', 'int-quantized', 'float-quantized', 'naive-quantized'] as const;
type Format = (typeof FORMATS)[number];
const format = z.enum(FORMATS, `served are ${FORMATS.join(', ')}`);

const target = z
  .string()
  .max(1000)
  .refine(
    (text) => !text.startsWith(REGEX_PREFIX) || targetRegex(text) !== null,
    'not a regular expression that JavaScript has',
  );
const targets = z.array(target).max(100_000);

const argsFields = {
  num_bits: z.int().default(8),
  type: z
    .string()
    .toLowerCase()
    .pipe(z.enum(['int', 'float']))
    .default('int'),
  symmetric: z.boolean().default(true),
  strategy: z.string().toLowerCase().nullish(),
  dynamic: z.union([z.boolean(), z.string()]).nullish(),
};

const weights = z.object({
  ...argsFields,
  group_size: groupSize.nullish(),
  block_structure: z
    .union([
      blockShapeSchema,
      z
        .string()
        .regex(/^\d{1,6}x\d{1,6}$/)
        .transform((text) => text.split('x').map(Number))
        .pipe(blockShapeSchema),
    ])
    .nullish(),
  actorder: z
    .union([
      z.boolean(),
      z
        .string()
        .toLowerCase()
        .pipe(z.enum(['group', 'dynamic', 'weight', 'static'])),
    ])
    .nullish(),
});
type Weights = z.infer<typeof weights>;

const activations = z.object(argsFields);
type Activations = z.infer<typeof activations>;

const group = z.object({
  targets,
  weights,
  input_activations: activations.nullish(),
  output_activations: z.null('quantized outputs are not served').optional(),
  format: format.nullish(),
});

/** As compressed-tensors and LLM Compressor write it. `kv_cache_scheme` is read over: the type of the cache is
 *  --kv-cache-dtype's to say, and its scales serve a cache of theirs alone. */
export const compressedTensorsSchema = z
  .object({
    format: z.union([format, z.literal('mixed-precision')], `served are ${FORMATS.join(', ')}`),
    config_groups: z.record(z.string().max(1000), group),
    ignore: targets.nullish(),
    sparsity_config: z.object({ format: z.literal('dense', 'sparse weights are not served').optional() }).nullish(),
    transform_config: z.strictObject({}, 'weights behind transforms are not served').nullish(),
  })
  .transform((fields, context): CompressedTensors => {
    const groups = Object.entries(fields.config_groups).flatMap(([name, { targets, ...parsed }]) => {
      const format = parsed.format ?? fields.format;
      const scheme =
        format === 'mixed-precision'
          ? { field: 'format', value: null, why: 'each group of a mixed-precision checkpoint needs one' }
          : schemeOf(format, parsed.weights, parsed.input_activations ?? null);
      if ('kind' in scheme) return [{ targets, scheme }];
      const path = ['config_groups', name, ...scheme.field.split('.')];
      context.addIssue({ code: 'custom', path, message: scheme.why });
      return [];
    });
    return { method: 'compressed-tensors', groups, ignore: fields.ignore ?? [] };
  });

interface Refusal {
  /** Within the group. */
  readonly field: string;
  readonly why: string;
}

function schemeOf(format: Format, args: Weights, activations: Activations | null): Scheme | Refusal {
  const strategy = strategyOf(args);
  const groupSize = strategy === 'group' ? (args.group_size ?? null) : null;
  const byGroup = args.actorder === true || args.actorder === 'group' || args.actorder === 'dynamic';
  const isFloat = args.type === 'float';
  if (args.dynamic) return { field: 'weights.dynamic', why: 'weights have scales of their own' };
  if (strategy === 'group' && groupSize === null)
    return { field: 'weights.group_size', why: 'needed with strategy group' };
  if (isFloat !== (format === 'float-quantized') && format !== 'naive-quantized')
    return { field: 'weights.type', why: `format ${format} has another` };
  if (isFloat) {
    if (args.num_bits !== 8) return { field: 'weights.num_bits', why: 'only 8 is served for floats' };
    if (strategy === 'block') {
      if (!args.block_structure) return { field: 'weights.block_structure', why: 'needed with strategy block' };
      return { kind: 'fp8', blockShape: args.block_structure };
    }
    if (strategy !== 'tensor' && strategy !== 'channel')
      return { field: 'weights.strategy', why: 'served for floats are tensor, channel, block' };
    return { kind: 'fp8', blockShape: null };
  }
  if (args.num_bits !== 4 && args.num_bits !== 8) return { field: 'weights.num_bits', why: 'served are 4 and 8' };
  if (format === 'pack-quantized') {
    if (strategy !== 'channel' && strategy !== 'group')
      return { field: 'weights.strategy', why: `served for ${format} are channel, group` };
    if (activations !== null)
      return {
        field: 'input_activations',
        why: `served for ${format} is null: activations are not quantized to a prescription`,
      };
    return { kind: 'packed', bits: args.num_bits, groupSize, symmetric: args.symmetric, byGroup };
  }
  if (byGroup) return { field: 'weights.actorder', why: `served for ${format} are null and weight` };
  if (strategy !== 'tensor' && strategy !== 'channel' && strategy !== 'group')
    return { field: 'weights.strategy', why: `served for ${format} are tensor, channel, group` };
  const rowScaledActivations = activations !== null;
  if (activations !== null) {
    const isPerToken = activations.dynamic === true && activations.strategy === 'token';
    if (!isPerToken || activations.type !== 'int' || activations.num_bits !== 8 || !activations.symmetric)
      return {
        field: 'input_activations',
        why: 'served are null and symmetric integers of 8 bits with dynamic true and strategy token',
      };
  }
  return {
    kind: 'int8',
    groupSize,
    isPerTensor: strategy === 'tensor',
    symmetric: args.symmetric,
    rowScaledActivations,
  };
}

/** Where the config leaves it out it follows from the group size. */
function strategyOf(args: Weights): string {
  if (args.strategy) return args.strategy;
  if (args.group_size == null) return 'tensor';
  return args.group_size > 0 ? 'group' : 'channel';
}
