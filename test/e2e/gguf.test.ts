import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { client, serving, skein, TINY_CHAT } from '../support/cluster.ts';
import { writeTinyChatGguf } from '../support/tiny-chat-gguf.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-gguf-e2e-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function answer(path: string): Promise<{ readonly model: string; readonly text: string }> {
  await using served = await serving((port) => skein(['serve', path, '--port', String(port)]));
  const model = (await client(served.url).models.list()).data[0]?.id ?? '';
  const { choices } = await client(served.url).chat.completions.create({
    model,
    messages: [{ role: 'user', content: 'What is the capital of France?' }],
    temperature: 0,
  });
  return { model, text: choices[0]?.message.content ?? '' };
}

test('a GGUF file answers as the checkpoint that it was made of, whole and quantized', async () => {
  const whole = join(folder, 'whole.gguf');
  await writeTinyChatGguf(TINY_CHAT, whole, 'bf16');
  expect(await answer(whole)).toEqual({ model: 'whole', text: 'The capital of France is Paris.' });
  // A folder with one such file does too.
  const quantized = join(folder, 'quantized');
  mkdirSync(quantized);
  await writeTinyChatGguf(TINY_CHAT, join(quantized, 'tiny.gguf'), 'q8_0');
  expect(await answer(quantized)).toEqual({ model: 'quantized', text: 'The capital of France is Paris.' });
});
