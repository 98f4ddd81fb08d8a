import { Command } from 'commander';
import { ConfigError } from '@skein/agent';
import { configText, shownConfig } from './config-command.ts';
import { variable } from './environment.ts';
import { argvTexts, normaliseArgv, optionsOf } from './flags/argv.ts';
import type { CommandName } from './flags/flag.ts';
import { type Resolved, resolve } from './flags/resolve.ts';
import { EXIT_CONFIG, runCommand } from './lifecycle.ts';
import { addMakeCheckpoint } from './make-checkpoint.ts';
import { addPlan } from './plan-command.ts';
import { processCommands } from './processes.ts';
import { VERSION } from './version.ts';

const program = new Command('skein')
  .description('Serve one large language model across many processes and machines, behind one OpenAI endpoint.')
  .version(VERSION)
  .showHelpAfterError('(--help shows all flags)')
  .showSuggestionAfterError()
  // Inherited by the commands below: what cannot be understood is not worth a retry.
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_CONFIG));

addProcessCommands(program, async (name, read) => {
  await runCommand(read, processCommands[name].run);
});

const config = program
  .command('config')
  .description('show what a command would run with, and where each value came from');
addProcessCommands(config, async (_, read, command) => {
  await runCommand(read, async ({ resolved }) => {
    const shown = shownConfig(resolved);
    process.stdout.write(command.opts()['json'] === true ? `${JSON.stringify(shown, null, 2)}\n` : configText(shown));
  });
});
for (const command of config.commands) command.option('--json', 'as JSON');

addPlan(program, (options, model) => readSettings('plan', options, model));
addMakeCheckpoint(program, () => readSettings('make-checkpoint', {}, null));

await program.parseAsync(normaliseArgv(process.argv.slice(2)), { from: 'user' });

type ProcessName = keyof typeof processCommands;

function addProcessCommands(
  parent: Command,
  act: (name: ProcessName, read: () => Resolved, command: Command) => Promise<void>,
): void {
  for (const name of Object.keys(processCommands) as ProcessName[]) {
    const { description, takesModel } = processCommands[name];
    const command = parent.command(name).description(description);
    if (takesModel) command.argument('[model]', 'as --model');
    command.option(
      '--config <file>',
      'YAML file of flags; stands behind the command line and variables (or SKEIN_CONFIG)',
    );
    for (const option of optionsOf(name)) command.addOption(option);
    command.action(async () => {
      await act(name, () => readSettings(name, command.opts(), command.args[0] ?? null), command);
    });
  }
}

function readSettings(name: CommandName, options: Readonly<Record<string, unknown>>, model: string | null): Resolved {
  const { config: file, ...given } = options;
  const argv = argvTexts(given);
  if (model !== null && argv.model)
    throw new ConfigError('ERR_OPTION', `the model is named twice: ${model} and --model ${argv.model.join(' ')}`);
  return resolve(name, {
    argv: model === null ? argv : { ...argv, model: [model] },
    configFile: typeof file === 'string' ? file : null,
    variable,
  });
}
