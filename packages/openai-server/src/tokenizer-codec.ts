import type { ChatTemplate, RenderedChat, Tokenizer } from '@skein/tokenizer';
import { badRequest } from './errors.ts';
import { LargeTextQueue } from './large-text-queue.ts';
import type { ChatMessage, Detokenizer, RenderChatOptions, TextCodec } from './text-codec.ts';

/** A model's tokenizer and chat template as the server's TextCodec. */
export function tokenizerCodec(tokenizer: Tokenizer): TextCodec {
  const queue = new LargeTextQueue();
  return {
    vocabSize: tokenizer.vocabSize,
    maxCharsPerToken: tokenizer.maxCharsPerToken,
    // A raw prompt is the client's own from end to end: special tokens it spells out are meant.
    encodeText: (text, { addSpecialTokens }) =>
      queue.run(text.length, () => tokenizer.encode(text, { addSpecialTokens })),
    async renderChat(messages, options) {
      const chat = render(tokenizer.chatTemplate, messages, options);
      return {
        text: chat.text,
        tokenIds: await queue.run(chat.text.length, () => tokenizer.encodeChat(chat, options)),
      };
    },
    createDetokenizer: (options): Detokenizer => {
      const detokenizer = tokenizer.newDetokenizer(options);
      return { add: (id) => detokenizer.add(id), flush: () => detokenizer.end() };
    },
    tokenText: (id) => tokenizer.tokenText(id),
    tokenBytes: (id) => tokenizer.tokenBytes(id),
  };
}

function render(
  template: ChatTemplate | null,
  messages: readonly ChatMessage[],
  options: RenderChatOptions,
): RenderedChat {
  if (template === null) throw badRequest('The model has no chat template; use /v1/completions.', 'body.messages');
  let chat: RenderedChat;
  try {
    chat = template.render(
      messages.map((message) => ({ ...message })),
      { addGenerationPrompt: options.addGenerationPrompt, variables: options.templateKwargs },
    );
  } catch (error) {
    // The template speaks to the client here: which roles it takes, and in which order.
    throw badRequest(
      error instanceof Error ? error.message.slice(0, 500) : 'The chat template failed.',
      'body.messages',
    );
  }
  return options.continueFinalMessage ? cutAfterFinalMessage(chat, messages) : chat;
}

/** Leaves out what the template puts behind the last message, so that the model goes on with it. */
function cutAfterFinalMessage(chat: RenderedChat, messages: readonly ChatMessage[]): RenderedChat {
  const content = messages.at(-1)?.content.trim() ?? '';
  const at = content === '' ? -1 : chat.markedText.lastIndexOf(content);
  if (at < 0)
    throw badRequest('The final message does not appear in the rendered chat.', 'body.continue_final_message');
  const markedText = chat.markedText.slice(0, at + content.length);
  return { ...chat, markedText, text: markedText.replaceAll(chat.mark, '') };
}
