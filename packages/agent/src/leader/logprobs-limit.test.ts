import { expect, test } from 'vitest';
import { RESULT_BYTES } from '../rank/plan-receiver.ts';
import { logprobsLimit } from './logprobs-limit.ts';

const shape = { maxLogprobs: 20, vocabSize: 512, maxNumRows: 256, maxPayloadBytes: 8 * 2 ** 20 };

test('a token has the logprobs asked for, and no more than there are tokens', () => {
  expect(logprobsLimit(shape)).toBe(20);
  expect(logprobsLimit({ ...shape, maxLogprobs: 0 })).toBe(0);
  expect(logprobsLimit({ ...shape, maxLogprobs: 513 })).toBe(512);
});

test('what a step of all rows could not send is refused, with what could be sent', () => {
  const maxPayloadBytes = RESULT_BYTES + 4 * (2 + 256 * (3 + 2 * 20));
  expect(logprobsLimit({ ...shape, maxPayloadBytes })).toBe(20);
  expect(() => logprobsLimit({ ...shape, maxPayloadBytes: maxPayloadBytes - 1 })).toThrow(
    expect.objectContaining({
      code: 'ERR_OPTION',
      message: `--max-logprobs is 20; the output of a step of 256 rows would not fit a message of ${maxPayloadBytes - 1} bytes; lower it to 19, or lower --max-num-seqs`,
    }),
  );
  expect(() => logprobsLimit({ ...shape, maxLogprobs: 0, maxPayloadBytes: 1000 })).toThrow(
    /bytes; lower --max-num-seqs$/,
  );
});
