import { ConfigError } from '../errors.ts';
import { RESULT_BYTES } from '../rank/plan-receiver.ts';

/** How many logprobs a token may be asked for: `--max-logprobs`, and no more than there are tokens.
 *  @throws ConfigError ERR_OPTION where a full step's output would be larger than `maxPayloadBytes`, which the bus takes. */
export function logprobsLimit(of: {
  readonly maxLogprobs: number;
  readonly vocabSize: number;
  readonly maxNumRows: number;
  readonly maxPayloadBytes: number;
}): number {
  const { maxNumRows, maxPayloadBytes } = of;
  const limit = Math.min(of.maxLogprobs, of.vocabSize);
  // Words of a step's output (native/lib/step-io.ts): two, three a row, and two for each logprob of a row.
  const most = Math.floor((((maxPayloadBytes - RESULT_BYTES) / 4 - 2) / maxNumRows - 3) / 2);
  if (limit <= most) return limit;
  const remedy = most < 0 ? 'lower --max-num-seqs' : `lower it to ${most}, or lower --max-num-seqs`;
  throw new ConfigError(
    'ERR_OPTION',
    `--max-logprobs is ${of.maxLogprobs}; the output of a step of ${maxNumRows} rows would not fit a message of ${maxPayloadBytes} bytes; ${remedy}`,
  );
}
