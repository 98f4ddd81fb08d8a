import { type Exchange, type ModelCard, notFound, sendJson } from '@skein/openai-server';
import {
  type Experts,
  expertsSchema,
  type GroupTopology,
  type LeaderAdvert,
  type Topology,
  topologySchema,
} from '@skein/protocol';
import { z } from 'zod';
import type { Endpoints } from './endpoints.ts';
import { requestHeaders } from './upstream-headers.ts';
import type { Upstream } from './upstream.ts';

export interface MergedAnswersOptions {
  readonly endpoints: Endpoints;
  readonly upstream: Upstream;
  readonly groupKey: string | null;
  /** For each leader's answer. */
  readonly deadlineMs: number;
}

const modelsSchema = z.object({ data: z.array(z.looseObject({ id: z.string() })).max(1000) });

/** Answers that are put together from those of all leaders. */
export class MergedAnswers {
  readonly #options: MergedAnswersOptions;

  constructor(options: MergedAnswersOptions) {
    this.#options = options;
  }

  /** GET /v1/models: each name once. */
  async models(exchange: Exchange): Promise<void> {
    sendJson(exchange.response, 200, { object: 'list', data: await this.#cards(exchange) });
  }

  /** GET /v1/models/{id} */
  async model(exchange: Exchange): Promise<void> {
    const card = (await this.#cards(exchange)).find(({ id }) => id === exchange.rest);
    if (card === undefined) throw notFound(`The model \`${exchange.rest.slice(0, 500)}\` does not exist.`);
    sendJson(exchange.response, 200, card);
  }

  /** GET /v1/skein/topology: every leader's own, and a note where one could not be had. */
  async topology(exchange: Exchange): Promise<Topology> {
    const groups = await this.#ask(exchange, '/v1/skein/topology', (answer, advert): GroupTopology[] => {
      const parsed = topologySchema.safeParse(answer);
      if (parsed.success) return parsed.data.groups;
      return [
        unknownGroup(advert, answer === null ? 'the leader could not be reached' : 'the leader gave no valid topology'),
      ];
    });
    return { groups: groups.flat() };
  }

  /** GET /v1/skein/experts: every leader's own; those that cannot be had are left out. */
  async experts(exchange: Exchange): Promise<Experts> {
    const groups = await this.#ask(exchange, '/v1/skein/experts', (answer) => {
      const parsed = expertsSchema.safeParse(answer);
      return parsed.success ? parsed.data.groups : [];
    });
    return { groups: groups.flat() };
  }

  async #cards(exchange: Exchange): Promise<Pick<ModelCard, 'id'>[]> {
    const lists = await this.#ask(exchange, '/v1/models', (answer, advert) => {
      const parsed = modelsSchema.safeParse(answer);
      return parsed.success ? parsed.data.data : [cardOf(advert)];
    });
    return [...new Map(lists.flat().map((card) => [card.id, card])).values()];
  }

  /** `read` gets null for a leader that did not answer. */
  #ask<T>(exchange: Exchange, path: string, read: (answer: unknown, advert: LeaderAdvert) => T): Promise<T[]> {
    const { endpoints, upstream, groupKey, deadlineMs } = this.#options;
    const headers = requestHeaders(exchange, groupKey);
    const signal = AbortSignal.any([exchange.signal, AbortSignal.timeout(deadlineMs)]);
    const asked = endpoints.adverts.map(async (advert) => {
      const answer = await upstream.getJson(new URL(path, advert.url).href, headers, signal).catch(() => null);
      return read(answer, advert);
    });
    return Promise.all(asked);
  }
}

function cardOf(advert: LeaderAdvert): ModelCard {
  const { model, maxModelLen } = advert;
  return {
    id: model,
    object: 'model',
    created: 0,
    owned_by: 'skein',
    root: model,
    parent: null,
    max_model_len: maxModelLen,
    permission: [],
  };
}

function unknownGroup(advert: LeaderAdvert, warning: string): GroupTopology {
  return {
    name: advert.group,
    url: advert.url,
    ready: false,
    state: 'unreachable',
    stateSeconds: 0,
    epoch: 0,
    model: advert.model,
    quantization: null,
    fingerprint: advert.fingerprint,
    warnings: [warning],
    agents: [],
    ranks: [],
    pairs: [],
    network: null,
  };
}
