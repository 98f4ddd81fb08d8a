import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ggufFiles, readGguf } from '@skein/models';
import { tokenizerCodec, type TextCodec } from '@skein/openai-server';
import { Tokenizer } from '@skein/tokenizer';
import { ConfigError } from '../errors.ts';
import type { NodeOptions } from '../node-options.ts';

/** Of tokenizer.json. */
const LARGE_TOKENIZER_BYTES = 1e6;

/** Whether `readCodec` may take this thread for long: half a second for 128k tokens. */
export function isLargeTokenizer({ tokenizer: path }: NodeOptions): boolean {
  const file = statSync(join(path, 'tokenizer.json'), { throwIfNoEntry: false });
  return file === undefined ? ggufFiles(path) !== null : file.size > LARGE_TOKENIZER_BYTES;
}

/** The tokenizer of a folder with tokenizer.json, or of a GGUF file (or the one in a folder). */
export async function readCodec({ tokenizer: path, chatTemplate: option }: NodeOptions): Promise<TextCodec> {
  const chatTemplate = chatTemplateText(option);
  const [file] = existsSync(join(path, 'tokenizer.json')) ? [] : (ggufFiles(path) ?? []);
  return tokenizerCodec(
    file === undefined
      ? await Tokenizer.load(path, { chatTemplate })
      : Tokenizer.fromGguf(readGguf(file).metadata, { file, chatTemplate }),
  );
}

/** As vLLM: a file's content, or what cannot be a file's name. */
function chatTemplateText(option: string | null): string | null {
  if (option === null) return null;
  if (existsSync(option)) return readFileSync(option, 'utf8');
  if (/[{}\n]/.test(option)) return option;
  throw new ConfigError('ERR_OPTION', `--chat-template is ${option}, which is neither a file nor a template`);
}
