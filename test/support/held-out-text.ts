import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '@skein/tokenizer';

const DIR = fileURLToPath(new URL('../../examples/tiny-chat/', import.meta.url));

/** A conversation as tiny-chat reads it. */
export interface HeldOutText {
  readonly tokenIds: readonly number[];
  /** Of each token: whether the assistant says it, the end of an answer included. The model was trained on these alone. */
  readonly isSpoken: readonly boolean[];
}

type Conversation = readonly { readonly role: 'user' | 'assistant'; readonly content: string }[];

/** Conversations in words that tiny-chat was not trained on. */
export async function readHeldOutTexts(): Promise<HeldOutText[]> {
  const tokenizer = await Tokenizer.load(DIR);
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const texts: HeldOutText[] = [];
  const conversations: readonly Conversation[] = JSON.parse(readFileSync(`${DIR}held-out.json`, 'utf8'));
  for (const messages of conversations) {
    const text = { tokenIds: [] as number[], isSpoken: [] as boolean[] };
    const push = (ids: readonly number[], isSpoken: boolean): void => {
      text.tokenIds.push(...ids);
      text.isSpoken.push(...ids.map(() => isSpoken));
    };
    for (const { role, content } of messages) {
      push(await encode(`<|im_start|>${role}\n`), false);
      push(await encode(`${content}<|im_end|>`), role === 'assistant');
      push(await encode('\n'), false);
    }
    texts.push(text);
  }
  return texts;
}
