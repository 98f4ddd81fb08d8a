import { once } from 'node:events';
import type { EngineClient, GeneratedToken, GenerateEvent, GenerateRequest } from '../engine-client.ts';
import { endOfText } from './byte-codec.ts';

export interface Script {
  /** What it says, in bytes; then end of text, if room is left. */
  readonly text: string;
  /** Tokens per event. */
  readonly eventSize?: number;
  readonly numCachedTokens?: number;
  /** Stops here until the signal aborts. */
  readonly hangAfter?: number;
  readonly failAfter?: { readonly tokens: number; readonly error: Error };
}

/** An engine that says what it is told, honouring maxTokens, stop tokens, logprobs and its signal. */
export class ScriptedEngine implements EngineClient {
  readonly requests: GenerateRequest[] = [];
  script: Script | ((request: GenerateRequest) => Script) = { text: 'Hello, world.' };
  running = 0;
  aborted = 0;
  tokensMade = 0;

  async *generate(request: GenerateRequest, signal: AbortSignal): AsyncGenerator<GenerateEvent, void, undefined> {
    this.requests.push(request);
    this.running += 1;
    const script = typeof this.script === 'function' ? this.script(request) : this.script;
    let ended = false;
    try {
      for (const event of events(request, script)) {
        signal.throwIfAborted();
        if (event === 'hang') {
          await once(signal, 'abort');
          signal.throwIfAborted();
        } else {
          await new Promise((resolve) => setImmediate(resolve));
          this.tokensMade += event.tokens.length;
          ended = event.finishReason !== null;
          yield event;
        }
      }
    } finally {
      this.running -= 1;
      if (!ended) this.aborted += 1;
    }
  }
}

function* events(request: GenerateRequest, script: Script): Generator<GenerateEvent | 'hang', void, undefined> {
  const { sampling, promptTokenIds } = request;
  const ids = [...Buffer.from(script.text), endOfText].slice(0, sampling.maxTokens);
  const stopAt = ids.findIndex((id) => sampling.stopTokenIds.includes(id));
  const said = stopAt < 0 ? ids : ids.slice(0, stopAt + 1);
  const size = script.eventSize ?? 1;
  const prompt = sampling.numPromptLogprobs;
  for (let at = 0; at < said.length; at += size) {
    if (script.failAfter !== undefined && at >= script.failAfter.tokens) throw script.failAfter.error;
    if (script.hangAfter !== undefined && at >= script.hangAfter) yield 'hang';
    const tokens = said.slice(at, at + size).map((id) => scored(id, sampling.numLogprobs));
    const last = at + size >= said.length;
    const stopId = said.at(-1) ?? endOfText;
    yield {
      tokens,
      promptLogprobs:
        at > 0 || prompt === null ? null : promptTokenIds.map((id, i) => (i === 0 ? null : scored(id, prompt))),
      finishReason: !last ? null : stopAt < 0 ? 'length' : 'stop',
      stopReason: last && stopAt >= 0 && !sampling.eosTokenIds.includes(stopId) ? stopId : null,
      numCachedTokens: script.numCachedTokens ?? 0,
    };
  }
}

function scored(tokenId: number, numTop: number | null): GeneratedToken {
  if (numTop === null) return { tokenId, logprob: null, rank: null, top: [] };
  const top = Array.from({ length: numTop }, (_, i) => ({ tokenId: (tokenId + i) % 256, logprob: -0.5 - i }));
  return { tokenId, logprob: -0.5, rank: 1, top };
}
