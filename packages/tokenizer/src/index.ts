export { ChatTemplate, type ChatTemplateOptions, type RenderedChat } from './chat-template.ts';
export { TokenizerError, type TokenizerErrorCode } from './errors.ts';
export { type DetokenizerOptions, IncrementalDetokenizer } from './incremental-detokenizer.ts';
export { type StopResult, StopStrings, type StopStringOptions } from './stop-strings.ts';
export { type EncodeOptions, Tokenizer } from './tokenizer.ts';
