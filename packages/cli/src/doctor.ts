import { type Check, examine, parseLwsEnvironment } from '@skein/agent';
import { SkeinError } from '@skein/protocol';
import { environment, variable } from './environment.ts';
import type { Running } from './lifecycle.ts';
import { modelFolder } from './model-folder.ts';
import { VERSION } from './version.ts';

/** `skein doctor`: prints what it found, and fails when anything is wrong. */
export async function doctor({ resolved: { settings }, logger, signal }: Running): Promise<void> {
  // The system's resolver cannot be cancelled, and a process that ends waits for it: half a minute, left to itself.
  process.env['RES_OPTIONS'] ??= 'timeout:2 attempts:1';
  const place = variable('lwsLeaderAddress') === null ? null : parseLwsEnvironment(environment);
  const { checks, table } = await examine(
    {
      place,
      model: settings.model === null ? null : modelFolder(settings.model, settings.revision).dir,
      interfaces: settings.interface,
      groupKey: variable('groupKey'),
      natsUrl: settings.natsUrl,
      natsPort: settings.natsPort,
      revision: VERSION,
      waitMs: settings.wait * 1000,
    },
    logger,
    signal,
  );
  process.stdout.write(`${checks.map(checkText).join('\n')}\n${table === '' ? '' : `\n${table}\n`}`);
  const failed = checks.filter(({ level }) => level === 'fail').length;
  if (failed > 0)
    throw new SkeinError('ERR_DOCTOR', `${failed} of ${checks.length} checks failed; the lines above say what to do`);
}

function checkText({ name, level, value, remedy }: Check): string {
  return `${level.padEnd(4)}  ${name.padEnd(14)}  ${value}${remedy === null ? '' : `\n${' '.repeat(22)}-> ${remedy}`}`;
}
