import type OpenAI from 'openai';

export interface FullLoad {
  readonly model: string;
  /** Requests at once. */
  readonly streams: number;
  /** Of each request. */
  readonly promptTokens: number;
  readonly answerTokens: number;
  /** Tokens of all requests together, at least. */
  readonly totalTokens: number;
}

/** Sends requests that share no prefix and need whole logits, until as many tokens as `totalTokens` were computed. */
export async function runFullLoad(openai: OpenAI, load: FullLoad): Promise<void> {
  const { model, streams, promptTokens, answerTokens, totalTokens } = load;
  const perRound = streams * (promptTokens + answerTokens);
  for (let round = 0; round * perRound < totalTokens; round++) {
    const requests = Array.from({ length: streams }, (_, stream) => {
      const first = 100 + ((round * streams + stream) % 1000);
      const prompt = Array.from({ length: promptTokens }, (_, i) => (i === 0 ? first : 100 + (i % 100)));
      const sampling = { max_tokens: answerTokens, top_p: 0.9, ignore_eos: true };
      return openai.completions.create({ model, prompt, ...sampling });
    });
    await Promise.all(requests);
  }
}
