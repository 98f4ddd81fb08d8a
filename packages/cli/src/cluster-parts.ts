import { fileURLToPath } from 'node:url';
import { type GroupShape, hostCores, numRanks } from '@skein/agent';
import { variables } from '@skein/telemetry';
import { asArguments, flagOf, type FlagTexts } from './flags/argv.ts';
import { flagKeys } from './flags/flag-table.ts';
import type { Resolved } from './flags/resolve.ts';

/** A process of a local cluster. */
export interface Part {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const TINY_CHAT = fileURLToPath(new URL('../../../examples/tiny-chat', import.meta.url));

/** How each group's ranks share the work. @param stages where no flag says. */
export function groupShape({ settings }: Resolved, stages: number): GroupShape {
  const { dataParallelSize: replicas, pipelineParallelSize, tensorParallelSize: tensorSize } = settings;
  const sharesExperts = settings.enableExpertParallel && replicas > 1;
  return { replicas, stages: pipelineParallelSize ?? stages, tensorSize, sharesExperts };
}

/** Of `skein up`. */
export function clusterShape(resolved: Resolved): GroupShape {
  return groupShape(resolved, 2);
}

/** The model of `skein up`. */
export function clusterModel({ settings }: Resolved): string {
  return settings.model ?? TINY_CHAT;
}

/** The router, then the agents of each group, with what LeaderWorkerSet would tell them: one for each stage of each replica,
 *  with the ranks that share it. */
export function clusterParts(resolved: Resolved): readonly [Part, ...Part[]] {
  const shape = clusterShape(resolved);
  const { settings } = resolved;
  const { groups } = settings;
  const threads = settings.threads ?? Math.max(1, Math.floor(hostCores() / (numRanks(shape) * groups)));
  const groupSize = shape.stages * shape.replicas;
  const node = passedOn(resolved, 'node');
  const router = passedOn(resolved, 'router');
  const nodeArgs = asArguments({
    ...node.texts,
    model: [clusterModel(resolved)],
    pipelineParallelSize: [String(shape.stages)],
    host: ['127.0.0.1'],
    port: ['0'],
    threads: [String(threads)],
    cpuMemoryUtilization: [String(settings.cpuMemoryUtilization / (groups * shape.replicas))],
  });
  const agents = Array.from({ length: groups * groupSize }, (_, i): Part => {
    const [group, worker] = [Math.floor(i / groupSize), i % groupSize];
    return {
      name: `agent ${group}-${worker}`,
      args: ['node', ...nodeArgs],
      env: {
        ...node.env,
        [variables.lwsLeaderAddress.name]: `skein-${group}.skein.localhost`,
        [variables.lwsGroupSize.name]: String(groupSize),
        [variables.lwsWorkerIndex.name]: String(worker),
      },
    };
  });
  return [{ name: 'router', args: ['router', ...asArguments(router.texts)], env: router.env }, ...agents];
}

/** What was set here and is meant for those processes too: as arguments, and as variables where it is a secret. */
function passedOn(
  { origins }: Resolved,
  to: 'node' | 'router',
): { readonly texts: FlagTexts; readonly env: Record<string, string> } {
  const given = flagKeys.filter((key) => flagOf(key).upPassesTo.includes(to) && origins[key].source !== 'default');
  const open = given.filter((key) => !flagOf(key).isSecret);
  // All that is said in a config file is passed on; the children read none.
  const env: Record<string, string> = { [variables.config.name]: '' };
  for (const key of given) {
    const { isSecret, variables: names } = flagOf(key);
    const [first] = names;
    if (isSecret && first) env[variables[first.key].name] = origins[key].texts.join(',');
  }
  return { texts: Object.fromEntries(open.map((key) => [key, origins[key].texts])), env };
}
