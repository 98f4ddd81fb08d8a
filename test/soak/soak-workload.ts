import type { Engine, GenerateRequest } from '@skein/engine';
import { greedy, Random } from '@skein/engine/testing';

export const TENANTS = 8;
const CONVERSATIONS = 30;
const TURNS = 3;
const PREAMBLE_TOKENS = 24;
/** Every token of a tenant's canary is that tenant's alone. */
const CANARY_TOKENS = 4;
const QUESTION_TOKENS_MAX = 20;
const ANSWER_TOKENS_MAX = 36;

/** A request and what it must be answered with. */
export interface SoakCase {
  readonly tenant: number;
  readonly request: Omit<GenerateRequest, 'requestId'>;
  readonly answer: readonly number[];
}

/** Longest prompt and answer. */
export const soakLength =
  PREAMBLE_TOKENS + CANARY_TOKENS + TURNS * (QUESTION_TOKENS_MAX + ANSWER_TOKENS_MAX) + ANSWER_TOKENS_MAX;

/** The first token ids are nobody's canary, the next ones belong to the tenants in order. */
export function canaryOf(tenant: number, vocabSize: number): number[] {
  const first = vocabSize - (tenant + 1) * CANARY_TOKENS;
  return Array.from({ length: CANARY_TOKENS }, (_, i) => first + i);
}

/** Conversations of every tenant, with the answers of `reference`: an engine without a cache. All tenants ask the same after the
 *  same preamble; only their canaries tell them apart, so whoever is served from another's blocks is answered wrongly. */
export async function soakCases(reference: Engine, vocabSize: number, seed: number): Promise<SoakCase[]> {
  const random = new Random(seed);
  const text = (length: number): number[] =>
    Array.from({ length }, () => random.int(3, vocabSize - 1 - TENANTS * CANARY_TOKENS));
  const preamble = text(PREAMBLE_TOKENS);
  const cases: Promise<SoakCase[]>[] = [];
  for (let i = 0; i < CONVERSATIONS; i++) {
    // Some tell who they are before the preamble and some after it: blocks before the canary are equal for all.
    const canaryFirst = random.chance(0.5);
    const turns = Array.from({ length: TURNS }, () => ({
      question: text(random.int(1, QUESTION_TOKENS_MAX)),
      sampling: {
        ...greedy,
        maxTokens: random.int(1, ANSWER_TOKENS_MAX),
        ...(random.chance(0.5) ? { temperature: 1, seed: BigInt(random.int(0, 2 ** 30)) } : {}),
      },
    }));
    for (let tenant = 0; tenant < TENANTS; tenant++) {
      const canary = canaryOf(tenant, vocabSize);
      const opening = canaryFirst ? [...canary, ...preamble] : [...preamble, ...canary];
      cases.push(conversation(reference, { name: `${i}-${tenant}`, tenant, opening, turns }));
    }
  }
  return (await Promise.all(cases)).flat();
}

async function conversation(
  reference: Engine,
  of: {
    readonly name: string;
    readonly tenant: number;
    readonly opening: readonly number[];
    readonly turns: readonly { readonly question: readonly number[]; readonly sampling: GenerateRequest['sampling'] }[];
  },
): Promise<SoakCase[]> {
  const cases: SoakCase[] = [];
  let context = [...of.opening];
  for (const [turn, { question, sampling }] of of.turns.entries()) {
    const promptTokenIds = [...context, ...question];
    const request = { promptTokenIds, sampling, client: `tenant-${of.tenant}` };
    const answer: number[] = [];
    const signal = new AbortController().signal;
    for await (const event of reference.generate({ ...request, requestId: `${of.name}-${turn}` }, signal))
      answer.push(...event.tokens.map((token) => token.tokenId));
    cases.push({ tenant: of.tenant, request, answer });
    context = [...promptTokenIds, ...answer];
  }
  return cases;
}
