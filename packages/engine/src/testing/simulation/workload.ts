import type { GenerateRequest } from '../../generate.ts';
import type { Random } from '../random.ts';
import { greedy } from '../toy-request.ts';
import type { Scenario } from './scenario.ts';

const SALTS = [null, null, null, null, null, null, null, 'a'];

/** Requests as they come: new texts, texts that begin like others, and texts that go on where an answer ended. */
export class Workload {
  readonly #scenario: Scenario;
  readonly #random: Random;
  readonly #texts: (readonly number[])[] = [];
  #count = 0;

  constructor(scenario: Scenario, random: Random) {
    this.#scenario = scenario;
    this.#random = random;
  }

  /** An answer that a later prompt may go on from. */
  remember(tokenIds: readonly number[]): void {
    this.#texts.push(tokenIds);
    if (this.#texts.length > this.#scenario.numTextsKept) this.#texts.shift();
  }

  next(): GenerateRequest {
    const { numTenants, vocab, maxModelLen, config } = this.#scenario;
    const random = this.#random;
    const numOwn = random.int(1, random.chance(0.2) ? maxModelLen : 8);
    const own = Array.from({ length: numOwn }, () => random.int(0, vocab - 1));
    const promptTokenIds = [...this.#opening(), ...own].slice(0, maxModelLen - 1);
    const sampling = {
      ...greedy,
      maxTokens: random.int(1, 24),
      stopTokenIds: random.chance(0.2) ? [random.int(0, vocab - 1)] : [],
      numPromptLogprobs: random.chance(0.1) ? 0 : null,
    };
    return {
      requestId: `r${this.#count++}`,
      promptTokenIds,
      sampling,
      client: `tenant-${random.int(1, numTenants)}`,
      cacheSalt: SALTS[random.int(0, SALTS.length - 1)] ?? null,
      priority: config.schedulingPolicy === 'priority' ? random.int(-1, 1) : 0,
    };
  }

  #opening(): readonly number[] {
    const random = this.#random;
    const text = random.chance(0.5) ? this.#scenario.sharedText : this.#texts[random.int(0, this.#texts.length)];
    return text && random.chance(0.8) ? text.slice(0, random.int(0, text.length)) : [];
  }
}
