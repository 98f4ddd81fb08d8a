import type { EngineConfig } from '@skein/engine';
import { greedy } from '@skein/engine/testing';
import { describe, expect, it } from 'vitest';
import { InProcessModel } from '../support/in-process-model.ts';
import { type Fixture, fixtureNames, QUANTIZED_CACHE_FIXTURES, readFixture } from './fixture.ts';

const never = new AbortController().signal;
const SHAPE = { maxModelLen: 256, blockSize: 8 } as const;
const ENGINE: Partial<EngineConfig> = { maxNumSeqs: 8, maxNumBatchedTokens: 64, maxNumRows: 8 };
/** Decodes this far, so that a tiny pool has to take blocks back. */
const OUTPUT_TOKENS = 24;

interface Answer {
  readonly tokenIds: number[];
  readonly numCachedTokens: number;
}

async function ask(model: InProcessModel, requestId: string, promptTokenIds: readonly number[]): Promise<Answer> {
  const tokenIds: number[] = [];
  let numCachedTokens = 0;
  const sampling = { ...greedy, maxTokens: OUTPUT_TOKENS };
  for await (const event of model.engine.generate({ requestId, promptTokenIds, sampling, client: 'c' }, never)) {
    tokenIds.push(...event.tokens.map((token) => token.tokenId));
    numCachedTokens = event.numCachedTokens;
  }
  return { tokenIds, numCachedTokens };
}

/** Prompts of more than one block; each bare and with some of its reply, as the next turn of a conversation has it. */
function turnsOf({ cases }: Fixture): number[][] {
  const long = cases.filter((c) => c.promptTokenIds.length > SHAPE.blockSize).slice(-4);
  return long.flatMap(({ promptTokenIds: prompt, greedyTokenIds: reply }) => [
    [...prompt],
    [...prompt, ...reply.slice(0, 20)],
  ]);
}

function askAll(model: InProcessModel, prompts: readonly (readonly number[])[]): Promise<Answer[]> {
  return Promise.all(prompts.map((prompt, i) => ask(model, `r${i}`, prompt)));
}

const idsOf = (answers: readonly Answer[]): number[][] => answers.map((answer) => answer.tokenIds);

const quantized = QUANTIZED_CACHE_FIXTURES.flatMap((name) =>
  (['f8e4m3', 'i8'] as const).map((dtype) => ({ name, dtype })),
);

describe.each([...fixtureNames.map((name) => ({ name, dtype: 'f32' as const })), ...quantized])(
  'greedy ids of $name with a cache of $dtype',
  ({ name, dtype }) => {
    it.each([1, 2])('do not depend on the prefix cache, nor on preemption, in %i stages', async (stages) => {
      const fixture = await readFixture(name);
      const prompts = turnsOf(fixture);
      const open = (numBlocks: number, enablePrefixCaching: boolean): Promise<InProcessModel> =>
        InProcessModel.open(fixture, {
          ...SHAPE,
          dtype,
          stages,
          numBlocks,
          engine: { ...ENGINE, enablePrefixCaching },
        });

      await using plain = await open(200, false);
      const wanted = idsOf(await askAll(plain, prompts));
      await using cached = await open(200, true);
      expect(idsOf(await askAll(cached, prompts))).toEqual(wanted);
      const again = await askAll(cached, prompts);
      expect(idsOf(again)).toEqual(wanted);
      // All but the last token, in whole blocks.
      const { blockSize } = SHAPE;
      const found = prompts.map((p) => blockSize * Math.floor((p.length - 1) / blockSize));
      expect(again.map((answer) => answer.numCachedTokens)).toEqual(found);

      const longest = Math.ceil((Math.max(...prompts.map((p) => p.length)) + OUTPUT_TOKENS) / SHAPE.blockSize);
      for (const caching of [true, false]) {
        await using pressed = await open(longest + 2, caching);
        expect(idsOf(await askAll(pressed, prompts))).toEqual(wanted);
        expect(pressed.engine.stats().numPreemptions['kv-cache'], 'preemptions').toBeGreaterThan(0);
        pressed.engine.checkIntegrity();
      }
    });
  },
);
