import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ExpertLoadError } from './errors.ts';
import type { Mixture } from './expert-placement.ts';

/** What is read of the document of `GET /v1/skein/experts`. */
const schema = z.object({
  groups: z
    .array(
      z.object({ layers: z.array(z.object({ layer: z.int().min(0), tokens: z.array(z.number().min(0)).min(1) })) }),
    )
    .min(1),
});

/** How much each expert has to do, by layer, by expert: the tokens of all groups of the document added up.
 *  @throws ExpertLoadError naming the file, what is in it, and what must be. */
export async function readExpertLoads(file: string, mixtures: readonly Mixture[]): Promise<Map<number, number[]>> {
  const refused = (what: string, cause?: unknown): ExpertLoadError =>
    new ExpertLoadError(
      `--expert-load is ${file}: ${what}; give a file of what GET /v1/skein/experts of this model answered`,
      { cause, details: { file } },
    );
  let json: unknown;
  try {
    json = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw refused(`it cannot be read as JSON (${error instanceof Error ? error.message : String(error)})`, error);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const found = (issue?.path ?? []).reduce<unknown>(
      (at, key) => (at === null || typeof at !== 'object' ? undefined : Reflect.get(at, key)),
      json,
    );
    throw refused(
      `${issue?.path.join('.') || 'the document'} is ${JSON.stringify(found)?.slice(0, 100) ?? 'missing'} (${issue?.message})`,
    );
  }
  const loads = new Map<number, number[]>();
  const sizes = new Map(mixtures.map(({ layer, numExperts }) => [layer, numExperts]));
  for (const { layer, tokens } of parsed.data.groups.flatMap(({ layers }) => layers)) {
    const numExperts = sizes.get(layer);
    if (numExperts === undefined)
      throw refused(
        `it counts experts of layer ${layer}, and the model has them in layers ${[...sizes.keys()].join(', ')}`,
      );
    if (tokens.length !== numExperts)
      throw refused(`it counts ${tokens.length} experts of layer ${layer}, and the model has ${numExperts}`);
    const before = loads.get(layer);
    loads.set(
      layer,
      tokens.map((count, expert) => count + (before?.[expert] ?? 0)),
    );
  }
  for (const { layer } of mixtures) if (!loads.has(layer)) throw refused(`it does not count experts of layer ${layer}`);
  return loads;
}
