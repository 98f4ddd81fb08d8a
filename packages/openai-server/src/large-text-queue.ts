import { ApiError } from './errors.ts';

/** Characters from which on a text is large: some milliseconds of one core. */
const largeChars = 65_536;
const waitingMax = 64;

/** Lets one large text be encoded at a time, so that they cannot take every core from the ranks of this host; small ones do not
 *  wait. Throws 429 when too many large ones wait already. */
export class LargeTextQueue {
  #last: Promise<unknown> = Promise.resolve();
  #numWaiting = 0;

  async run<T>(numChars: number, encode: () => Promise<T>): Promise<T> {
    if (numChars < largeChars) return encode();
    if (this.#numWaiting >= waitingMax) {
      const message = `${this.#numWaiting} long prompts wait to be encoded; try again later.`;
      throw new ApiError(429, 'RateLimitError', message, { retryAfterSeconds: 1 });
    }
    this.#numWaiting += 1;
    const turn = this.#last.then(encode).finally(() => (this.#numWaiting -= 1));
    this.#last = turn.catch(() => {});
    return turn;
  }
}
