import type { FieldTable } from './field.ts';
import { defaultRequestBounds, requestFields } from './request-fields.ts';
import { unsupportedFields } from './unsupported-fields.ts';

/** docs/request-fields.md, from the tables that requests are checked against. */
export function requestFieldsDocument(): string {
  const { common, chat, completion, messages, prompt } = requestFields(defaultRequestBounds);
  return `# Request fields

What \`POST /v1/chat/completions\` and \`POST /v1/completions\` take, written from the table that requests are checked against. A value out of
bounds is a 400 that names the field and the bound, before any work is done. \`null\` is as good as absent. Fields that stand in none of these tables
are ignored. A server may be started with another limit than ${defaultRequestBounds.maxLogprobs} on logprobs (\`--max-logprobs\`).

## Both

${tableOf(common)}

## Chat completions

${tableOf({ messages, ...chat })}

## Completions

${tableOf({ prompt, ...completion })}

## Refused

Fields that would change the answer and that cannot be honoured. Other values than these are a 400 that names the field.

| field | value that is let pass |
| --- | --- |
${Object.entries(unsupportedFields)
  .map(([name, [neutral]]) => `| \`${name}\` | ${neutral === '' ? '`null`' : neutral} |`)
  .join('\n')}
`;
}

function tableOf(fields: FieldTable): string {
  const rows = Object.entries(fields)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, f]) => `| \`${name}\` | ${f.type} | ${f.min} | ${f.max} | ${f.default} | ${f.meaning} |`);
  return ['| field | type | least | most | default | meaning |', '| --- | --- | --- | --- | --- | --- |', ...rows].join(
    '\n',
  );
}
