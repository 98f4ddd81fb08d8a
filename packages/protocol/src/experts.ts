import { z } from 'zod';

/** A layer of which each expert has a count; the expert's id is its place. */
const layerSchema = z.object({
  /** Index in the model. */
  layer: z.int().min(0),
  /** Pairs of a token and the expert that were computed. */
  tokens: z.array(z.number().min(0)),
  /** Numbers of the ranks that have it, ascending. */
  ranks: z.array(z.array(z.int().min(0))),
});

/** What `GET /v1/skein/experts` answers, on the leader (one group) and on the router (all of them): what was computed since the
 *  leader started, recomputed tokens included. A model without experts has no layers. */
export const expertsSchema = z.object({
  groups: z.array(
    z.object({
      name: z.string(),
      model: z.string(),
      layers: z.array(layerSchema),
      ranks: z.array(z.object({ rankIndex: z.int().min(0), tokens: z.number().min(0) })),
    }),
  ),
});
export type Experts = z.infer<typeof expertsSchema>;
export type GroupExperts = Experts['groups'][number];
