import type { GenerateEvent } from './generate.ts';
import { OutputQueue } from './output-queue.ts';
import type { RequestOutcome, RequestRef } from './engine-observer.ts';
import type { EngineErrorCode } from './errors.ts';
import type { Request } from './request.ts';

/** A request from arrival to outcome as its caller sees it: its events, and when things happened. */
export class Generation {
  readonly request: Request;
  readonly ref: RequestRef;
  readonly queue: OutputQueue = new OutputQueue();
  readonly #arrivedMs: number;
  #firstScheduledMs: number | null = null;
  #firstTokenMs: number | null = null;
  #lastTokenMs: number | null = null;

  constructor(request: Request, client: string, nowMs: number) {
    this.request = request;
    this.ref = { requestId: request.id, client };
    this.#arrivedMs = nowMs;
  }

  /** @returns whether this is the first time. */
  scheduled(nowMs: number): boolean {
    const isFirst = this.#firstScheduledMs === null;
    this.#firstScheduledMs ??= nowMs;
    return isFirst;
  }

  /** Hands the event to the reader. @returns what the observer is told of it. */
  deliver(
    event: GenerateEvent,
    nowMs: number,
  ): { readonly timeToFirstTokenMs: number | null; readonly sinceLastMs: number | null } {
    const sinceLastMs = this.#lastTokenMs === null ? null : nowMs - this.#lastTokenMs;
    this.#lastTokenMs = nowMs;
    this.#firstTokenMs ??= nowMs;
    this.queue.push(event);
    return { timeToFirstTokenMs: sinceLastMs === null ? nowMs - this.#arrivedMs : null, sinceLastMs };
  }

  outcome(reason: RequestOutcome['reason'], errorCode: EngineErrorCode | null, nowMs: number): RequestOutcome {
    const { request } = this;
    const since = (ms: number | null): number | null => (ms === null ? null : ms - this.#arrivedMs);
    return {
      ...this.ref,
      reason,
      errorCode,
      numPromptTokens: request.numPromptTokens,
      numOutputTokens: request.tokenIds.length - request.numPromptTokens,
      numPreemptions: request.numPreemptions,
      numCachedTokens: request.numCachedTokens ?? 0,
      queueMs: since(this.#firstScheduledMs),
      timeToFirstTokenMs: since(this.#firstTokenMs),
      totalMs: nowMs - this.#arrivedMs,
    };
  }
}
