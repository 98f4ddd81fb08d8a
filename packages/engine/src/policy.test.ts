import { describe, expect, it } from 'vitest';
import { chooseDecodes, prefillShare } from './policy.ts';
import { Request } from './request.ts';
import { toyRequest } from './testing/toy-request.ts';

/** A request whose prompt is computed and whose newest token was sampled in `lastStep`. */
function decode(id: string, lastStep: number): Request {
  const request = new Request(toyRequest(id, 4), 0);
  request.numComputedTokens = 4;
  request.numPendingTokens = 1;
  request.lastScheduledStep = lastStep;
  return request;
}

const ids = (requests: readonly Request[]): string[] => requests.map((r) => r.id);

describe('chooseDecodes', () => {
  it('lets every decode into every step when there is one stage', () => {
    const choice = chooseDecodes([decode('a', 4), decode('b', 4)], 5, 1);
    expect([ids(choice.due), choice.quota]).toEqual([['a', 'b'], 2]);
  });

  it('deals decodes over the stages, least recently scheduled first', () => {
    const running = [decode('a', 8), decode('b', 9), decode('c', 8), decode('d', 9)];
    const choice = chooseDecodes(running, 10, 2);
    expect([ids(choice.due), ids(choice.early), choice.quota]).toEqual([['a', 'c'], ['b', 'd'], 2]);
  });

  it('leaves out a request that has all the outputs it may have under way', () => {
    const request = decode('a', 0);
    request.maxTokens = 1;
    expect(chooseDecodes([request], 1, 1)).toEqual({ due: [], early: [], quota: 0 });
  });
});

describe('prefillShare', () => {
  it('spreads prompts over the stages, and cuts none finer than is worth it', () => {
    const prompts = [1000, 600].map((n) => new Request(toyRequest('p', n), 0));
    expect(prefillShare(prompts, [], 4)).toBe(400);
    expect(prefillShare([], prompts, 2)).toBe(800);
    expect(prefillShare([], [new Request(toyRequest('p', 50), 0)], 4)).toBe(128);
    expect(prefillShare(prompts, [], 1)).toBe(Number.MAX_SAFE_INTEGER);
  });
});
