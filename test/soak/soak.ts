import { fileURLToPath } from 'node:url';
import { EngineError } from '@skein/engine';
import { Random } from '@skein/engine/testing';
import { InProcessModel } from '../support/in-process-model.ts';
import { canaryOf, type SoakCase, soakCases, soakLength, TENANTS } from './soak-workload.ts';

// Random weights: answers tell contexts apart more often than a trained model's, and take a seventh of tiny-chat's time.
const MODEL = fileURLToPath(new URL('../fixtures/llama/gqa-bfloat16', import.meta.url));
const BLOCK_SIZE = 16;
const SEQS_MAX = 8;
const CLIENTS = 24;
const ABORT_RATE = 0.05;

export interface SoakReport {
  readonly requests: number;
  readonly aborted: number;
  readonly preempted: number;
  readonly evictedBlocks: number;
  readonly cachedTokens: number;
  /** Of pairs of tenants that asked the same in the same place: how many were answered differently, as canaries see to. */
  readonly canaryShare: number;
}

/** Serves `numRequests` of 8 tenants from a tiny pool on a real model, aborting some.
 *  @throws Error when an answer is not the cache-less one, has a foreign canary, or was cached for a tenant before it asked. */
export async function soak(numRequests: number, seed: number, progress: (line: string) => void): Promise<SoakReport> {
  const shape = { maxModelLen: soakLength, blockSize: BLOCK_SIZE };
  const config = { maxNumSeqs: SEQS_MAX, maxNumBatchedTokens: 64, maxNumRows: SEQS_MAX };
  let cases: SoakCase[];
  let vocabSize: number;
  {
    const roomy = { ...shape, numBlocks: SEQS_MAX * Math.ceil(soakLength / BLOCK_SIZE) };
    await using plain = await InProcessModel.load(MODEL, {
      ...roomy,
      engine: { ...config, enablePrefixCaching: false },
    });
    vocabSize = plain.vocabSize;
    cases = await soakCases(plain.engine, vocabSize, seed);
    if (plain.engine.stats().numPrefixCacheHits > 0) throw new Error('the reference used a cache');
  }
  progress(`${cases.length} different requests`);

  let evictedBlocks = 0;
  await using cached = await InProcessModel.load(MODEL, {
    ...shape,
    numBlocks: Math.ceil(soakLength / BLOCK_SIZE) + 1,
    engine: config,
    observer: {
      onKVCacheEvents: (events) => {
        for (const event of events) if (event.type === 'BlockRemoved') evictedBlocks += event.blockHashes.length;
      },
    },
  });
  const random = new Random(seed);
  const known = new KnownPrefixes();
  const { engine } = cached;
  let [started, aborted] = [0, 0];
  const client = async (): Promise<void> => {
    while (started < numRequests) {
      const n = started++;
      const wanted = cases[random.int(0, cases.length - 1)];
      if (!wanted) return;
      const abortAfter = random.chance(ABORT_RATE) ? random.int(0, wanted.answer.length) : Infinity;
      const cachedMax = known.longest(wanted.request);
      known.add(wanted.request, wanted.answer);
      if (await serve(n, wanted, { abortAfter, cachedMax })) aborted += 1;
      if ((n + 1) % 10_000 === 0) {
        engine.checkIntegrity();
        progress(`${n + 1} requests`);
      }
    }
  };
  /** @returns whether it was aborted. */
  const serve = async (
    n: number,
    { tenant, request, answer }: SoakCase,
    limits: { readonly abortAfter: number; readonly cachedMax: number },
  ): Promise<boolean> => {
    const abort = new AbortController();
    if (limits.abortAfter === 0) setImmediate(() => abort.abort());
    const tokens: number[] = [];
    try {
      for await (const event of engine.generate({ ...request, requestId: `soak-${n}` }, abort.signal)) {
        tokens.push(...event.tokens.map((token) => token.tokenId));
        if (event.numCachedTokens > limits.cachedMax)
          throw new Error(
            `request ${n}: ${event.numCachedTokens} tokens cached, ${limits.cachedMax} known of its tenant`,
          );
        if (tokens.length >= limits.abortAfter) abort.abort();
      }
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'ERR_ABORTED') throw error;
    }
    for (let other = 0; other < TENANTS; other++) {
      const leaked =
        other !== tenant && canaryOf(other, vocabSize).some((id) => tokens.includes(id) && !answer.includes(id));
      if (leaked) throw new Error(`request ${n} of tenant ${tenant} says the canary of tenant ${other}`);
    }
    const isRight =
      tokens.every((id, i) => id === answer[i]) && (abort.signal.aborted || tokens.length === answer.length);
    if (!isRight) throw new Error(`request ${n}: ${tokens.join()} instead of ${answer.join()}`);
    return abort.signal.aborted;
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));

  engine.checkIntegrity();
  const { numPreemptions, numPrefixCacheHits, numUsedBlocks } = engine.stats();
  if (numUsedBlocks > 0) throw new Error(`${numUsedBlocks} blocks are held by nobody`);
  const preempted = numPreemptions['kv-cache'];
  const canaryShare = shareOfAnswersThatDiffer(cases);
  return { requests: started, aborted, preempted, evictedBlocks, cachedTokens: numPrefixCacheHits, canaryShare };
}

/** What each tenant may find cached: the full blocks of what it has asked for. */
class KnownPrefixes {
  readonly #prefixes = new Set<string>();

  add({ client, promptTokenIds }: SoakCase['request'], answer: readonly number[]): void {
    const tokens = [...promptTokenIds, ...answer];
    for (let end = BLOCK_SIZE; end <= tokens.length; end += BLOCK_SIZE)
      this.#prefixes.add(`${client}:${tokens.slice(0, end).join()}`);
  }

  longest({ client, promptTokenIds }: SoakCase['request']): number {
    let end = 0;
    while (end + BLOCK_SIZE < promptTokenIds.length) {
      if (!this.#prefixes.has(`${client}:${promptTokenIds.slice(0, end + BLOCK_SIZE).join()}`)) break;
      end += BLOCK_SIZE;
    }
    return end;
  }
}

/** Each tenant has the same turns in the same order, but for the canary. */
function shareOfAnswersThatDiffer(cases: readonly SoakCase[]): number {
  const [first = [], ...others] = Array.from({ length: TENANTS }, (_, t) => cases.filter((c) => c.tenant === t));
  const differ = others.flatMap((own) => own.filter((c, i) => c.answer.join() !== first[i]?.answer.join()));
  return differ.length / (others.length * first.length);
}
