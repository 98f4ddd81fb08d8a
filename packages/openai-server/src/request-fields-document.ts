import type { FieldTable } from './field.ts';
import { chatFields, commonFields, completionFields, messagesField, promptField } from './request-fields.ts';
import { unsupportedFields } from './unsupported-fields.ts';

/** docs/request-fields.md, from the tables that requests are checked against. */
export function requestFieldsDocument(): string {
  return `# Request fields

What \`POST /v1/chat/completions\` and \`POST /v1/completions\` take, written from the table that requests are checked against. A value out of
bounds is a 400 that names the field and the bound, before any work is done. \`null\` is as good as absent. Fields that stand in none of these tables
are ignored.

## Both

${tableOf(commonFields)}

## Chat completions

${tableOf({ messages: messagesField, ...chatFields })}

## Completions

${tableOf({ prompt: promptField, ...completionFields })}

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
