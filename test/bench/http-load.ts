import { Agent, request } from 'undici';

export interface StreamTiming {
  /** From the request to the first text. */
  readonly firstTextMs: number;
  /** Between one text event and the next. */
  readonly gapsMs: readonly number[];
  readonly numTokens: number;
}

interface StreamEvent {
  readonly choices?: readonly { readonly delta?: { readonly content?: string | null } }[];
  readonly usage?: { readonly completion_tokens: number } | null;
}

const HEADERS = { 'content-type': 'application/json' };

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
  async stream(url: string, body: object): Promise<StreamTiming> {
    const startMs = performance.now();
    const response = await this.#post(url, { ...body, stream: true, stream_options: { include_usage: true } });
    const textAtMs: number[] = [];
    let numTokens = 0;
    for await (const event of serverSentEvents(response.body)) {
      if (event.choices?.[0]?.delta?.content) textAtMs.push(performance.now());
      numTokens = event.usage?.completion_tokens ?? numTokens;
    }
    const [firstMs = Number.NaN] = textAtMs;
    const gapsMs = textAtMs.slice(1).map((ms, i) => ms - (textAtMs[i] ?? ms));
    return { firstTextMs: firstMs - startMs, gapsMs, numTokens };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispatcher.destroy();
  }

  async #post(url: string, body: object): ReturnType<typeof request> {
    const options = {
      dispatcher: this.#dispatcher,
      method: 'POST',
      headers: HEADERS,
      body: JSON.stringify(body),
    } as const;
    const response = await request(`${url}/v1/chat/completions`, options);
    if (response.statusCode === 200) return response;
    throw new Error(`${url} answered ${response.statusCode}: ${await response.body.text()}`);
  }
}

async function* serverSentEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<StreamEvent> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    const events = (text + decoder.decode(chunk, { stream: true })).split('\n\n');
    text = events.pop() ?? '';
    for (const event of events) {
      const data = event.replace(/^data: /, '');
      if (data !== '[DONE]' && !data.startsWith(':')) yield JSON.parse(data) as StreamEvent;
    }
  }
}
