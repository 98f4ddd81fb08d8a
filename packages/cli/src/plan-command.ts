import type { Command } from 'commander';
import { CHECKPOINT_SHAPES } from '@skein/models';
import { optionsOf } from './flags/argv.ts';
import type { Resolved } from './flags/resolve.ts';
import { runCommand } from './lifecycle.ts';

/** `skein plan`: which formation a model takes on given devices, and why. */
export function addPlan(
  program: Command,
  read: (options: Readonly<Record<string, unknown>>, model: string | null) => Resolved,
): void {
  const command = program
    .command('plan')
    .description('recommend how to split a model over devices, with its memory, the commands and a LeaderWorkerSet')
    .argument('[model]', `as --model, or a known shape: ${Object.keys(CHECKPOINT_SHAPES).join(', ')}`)
    .option('--config <file>', 'YAML file of flags; stands behind the command line and variables (or SKEIN_CONFIG)')
    .option('--json', 'as JSON')
    .option('--yaml', 'the LeaderWorkerSet alone');
  for (const option of optionsOf('plan')) command.addOption(option);
  command.action(async () => {
    const { json, yaml, ...options } = command.opts();
    await runCommand(
      () => read(options, command.args[0] ?? null),
      async ({ resolved }) => {
        const { shownPlan } = await import('./plan/shown-plan.ts');
        process.stdout.write(await shownPlan(resolved, json === true ? 'json' : yaml === true ? 'yaml' : 'text'));
      },
    );
  });
}
