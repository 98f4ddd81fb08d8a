import { Agent, request } from 'undici';

export interface StreamTiming {
  /** From the request to the first piece that brings tokens. */
  readonly firstTokenMs: number;
  /** For each later token, its share of the time since the arrival before: tokens that arrive together divide it. */
  readonly tokenGapsMs: readonly number[];
  readonly numTokens: number;
}

interface StreamEvent {
  readonly choices?: readonly { readonly delta?: { readonly content?: string | null } }[];
  readonly usage?: { readonly completion_tokens: number } | null;
}

const HEADERS = { 'content-type': 'application/json' };
const STREAM = { stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } };

/** An OpenAI client with kept connections and as little work for each event as it takes to time it. */
export class HttpLoad implements AsyncDisposable {
  readonly #dispatcher = new Agent({ pipelining: 1 });

  /** @returns milliseconds until the whole answer is here. */
  async complete(url: string, body: object): Promise<number> {
    const startMs = performance.now();
    const response = await this.#post(url, body);
    await response.body.text();
    return performance.now() - startMs;
  }

  /** Streams a chat completion to its end. */
  async stream(url: string, body: object, onFirstToken: () => void = () => {}): Promise<StreamTiming> {
    const startMs = performance.now();
    const response = await this.#post(url, { ...body, ...STREAM });
    let firstTokenMs = Number.NaN;
    let lastMs = Number.NaN;
    let numTokens = 0;
    const tokenGapsMs: number[] = [];
    for await (const { events, atMs } of eventBatches(response.body)) {
      const total = events.reduce((n, event) => Math.max(n, event.usage?.completion_tokens ?? 0), numTokens);
      const numNew = total - numTokens;
      if (numNew === 0) continue;
      const gapMs = (atMs - lastMs) / numNew;
      if (Number.isNaN(firstTokenMs)) {
        firstTokenMs = atMs - startMs;
        onFirstToken();
      } else for (let n = 0; n < numNew; n++) tokenGapsMs.push(gapMs);
      lastMs = atMs;
      numTokens = total;
    }
    return { firstTokenMs, tokenGapsMs, numTokens };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispatcher.destroy();
  }

  async #post(url: string, body: object): ReturnType<typeof request> {
    const content = JSON.stringify(body);
    const options = { dispatcher: this.#dispatcher, method: 'POST', headers: HEADERS, body: content } as const;
    const response = await request(`${url}/v1/chat/completions`, options);
    if (response.statusCode === 200) return response;
    throw new Error(`${url} answered ${response.statusCode}: ${await response.body.text()}`);
  }
}

/** The events of each piece that arrives; an event cut in two counts with its end. */
async function* eventBatches(body: AsyncIterable<Uint8Array>): AsyncGenerator<{ events: StreamEvent[]; atMs: number }> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of body) {
    const atMs = performance.now();
    const parts = (text + decoder.decode(piece, { stream: true })).split('\n\n');
    text = parts.pop() ?? '';
    const data = parts.map((part) => part.replace(/^data: /, ''));
    yield { events: data.filter((d) => d.startsWith('{')).map((d) => JSON.parse(d) as StreamEvent), atMs };
  }
}
