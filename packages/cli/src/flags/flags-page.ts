import { variables } from '@skein/telemetry';
import { defaultText, flagOf } from './argv.ts';
import { flagGroups } from './flag.ts';
import { type FlagKey, flagKeys, flagName } from './flag-table.ts';

const processes = ['up', 'serve', 'node', 'router', 'doctor', 'plan'] as const;

/** docs/flags.md, from the table. */
export function flagsPage(): string {
  return [
    '# Flags',
    '',
    'Generated from the table of flags; a test holds it current. A value on the command line stands above a variable, that above the',
    'config file (`--config FILE` or `SKEIN_CONFIG`: YAML, the names below without dashes in front), and that above the default.',
    '`skein config up …` (or `serve`, `node`, `router`) shows what a command would run with and where each value came from.',
    'A switch is `--name` or `--no-name`. Sizes take suffixes: `8k` is 8000, `8K` is 8192. A flag that several commands take is passed',
    'on by `skein up` to the processes in the last column. `skein doctor` takes the flags of `node`.',
    '',
    ...flagGroups.flatMap((group) => [
      `## ${group}`,
      '',
      '| flag | default | meaning | commands | up passes it to |',
      '| --- | --- | --- | --- | --- |',
      ...flagKeys.filter((key) => flagOf(key).group === group).map(row),
      '',
    ]),
    '## Variables',
    '',
    '| variable | meaning |',
    '| --- | --- |',
    ...Object.values(variables).map(({ name, doc }) => `| \`${name}\` | ${cell(doc)} |`),
    '',
  ].join('\n');
}

function row(key: FlagKey): string {
  const { argument, doc, aliases, offAliases, upPassesTo, variables: names } = flagOf(key);
  const flag = `\`--${flagName(key)}${argument === null ? '' : ` ${argument}`}\``;
  const also = [...aliases, ...offAliases.map((alias) => `${alias} (off)`)];
  const notes = [
    ...(also.length > 0 ? [`also ${also.map((alias) => `\`${alias}\``).join(', ')}`] : []),
    ...names.map((name) => `variable \`${variables[name.key].name}\``),
  ];
  const meaning = [doc, ...notes].join('; ');
  const commands = processes.filter((command) => flagOf(key).commands.includes(command)).join(', ');
  return `| ${flag} | ${cell(defaultText(key))} | ${cell(meaning)} | ${commands} | ${upPassesTo.join(', ')} |`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
