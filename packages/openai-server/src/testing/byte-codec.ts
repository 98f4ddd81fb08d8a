import type { TextCodec } from '../text-codec.ts';

export const endOfText = 256;

/** A tokenizer of 256 bytes and an end-of-text token, for tests. */
export const byteCodec: TextCodec = {
  vocabSize: 257,
  maxCharsPerToken: 5,
  encodeText: (text) => Promise.resolve([...Buffer.from(text)]),
  renderChat: (messages, { addGenerationPrompt }) => {
    const turns = messages.map(({ role, content }) => `<${role}>${content}\n`).join('');
    const text = addGenerationPrompt ? `${turns}<assistant>` : turns;
    return Promise.resolve({ text, tokenIds: [...Buffer.from(text)] });
  },
  createDetokenizer: ({ skipSpecialTokens }) => {
    const decoder = new TextDecoder();
    return {
      add: (id) => (id < 256 ? decoder.decode(Uint8Array.of(id), { stream: true }) : skipSpecialTokens ? '' : '<end>'),
      flush: () => decoder.decode(),
    };
  },
  tokenText: (id) => (id < 256 ? new TextDecoder().decode(Uint8Array.of(id)) : '<end>'),
  tokenBytes: (id) => (id < 256 ? Uint8Array.of(id) : Buffer.from('<end>')),
};
