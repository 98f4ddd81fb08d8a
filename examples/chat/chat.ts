/** Streams one answer with the official OpenAI client. Usage: node examples/chat/chat.ts [question] [base URL] */
import OpenAI from 'openai';

const [question = 'What is the capital of France?', baseURL = 'http://127.0.0.1:8000/v1'] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: process.env['SKEIN_API_KEY'] ?? 'none' });
const [model] = (await client.models.list()).data;

const stream = await client.chat.completions.create({
  model: model?.id ?? 'tiny-chat',
  messages: [{ role: 'user', content: question }],
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '');
process.stdout.write('\n');
