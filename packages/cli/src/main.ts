import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { parseLwsEnvironment, runLeaderAgent, runWorkerAgent } from '@skein/agent';
import { type LogLevel } from '@skein/telemetry';
import { environment, variable } from './environment.ts';
import { runCommand } from './lifecycle.ts';
import { makeCheckpoint } from './make-checkpoint.ts';
import {
  addNodeFlags,
  integer,
  logLevelOption,
  type ListenFlags,
  type NodeFlags,
  nodeOptions,
  VERSION,
} from './node-flags.ts';
import { runRouter } from './router.ts';
import { up } from './up.ts';

const TINY_CHAT = fileURLToPath(new URL('../../../examples/tiny-chat', import.meta.url));

const program = new Command('skein')
  .description('Serve one large language model across many processes and machines, behind one OpenAI endpoint.')
  .version(VERSION)
  .showHelpAfterError()
  .showSuggestionAfterError();

addNodeFlags(
  program
    .command('up')
    .description('start a whole cluster on this machine: broker, router, and agents with their ranks')
    .option('--model <dir>', 'checkpoint folder', TINY_CHAT)
    .addOption(
      new Option('--pp, --pipeline-parallel-size <n>', 'pipeline stages of each group')
        .argParser(integer(1, 64))
        .default(2),
    )
    .option('--groups <n>', 'groups, each with the whole model', integer(1, 64), 1)
    .option('--host <address>', 'where the router listens', '127.0.0.1')
    .option('--port <port>', 'port of the router', integer(1, 65535), 8000),
).action(async (flags: UpFlags, command: Command) => {
  await runCommand(flags, (logger, signal) =>
    up(
      {
        model: flags.model,
        stages: flags.pipelineParallelSize,
        groups: flags.groups,
        host: flags.host,
        port: flags.port,
        threads: flags.threads ?? null,
        apiKey: flags.apiKey ?? variable('apiKey'),
        nodeArgs: passedOn(command, ['model', 'pipelineParallelSize', 'groups', 'host', 'port', 'threads', 'apiKey']),
        routerArgs: [
          ...(flags.logLevel ? ['--log-level', flags.logLevel] : []),
          ...(flags.apiKeyGuardsMetrics ? ['--api-key-guards-metrics'] : []),
        ],
      },
      logger,
      signal,
    ),
  );
});

listening(
  addNodeFlags(
    program
      .command('serve')
      .argument('<model>', 'checkpoint folder')
      .description('serve a model in one group of one rank, without a broker'),
  ),
).action(async (model: string, flags: NodeFlags & ListenFlags) => {
  const place = {
    group: 'serve-0',
    groupIndex: 0,
    groupSize: 1,
    workerIndex: 0,
    leaderAddress: '127.0.0.1',
    peers: ['127.0.0.1'],
  };
  await runCommand(flags, (logger, signal) =>
    runLeaderAgent(place, { ...nodeOptions(model, flags), brokerless: true }, logger, signal),
  );
});

listening(
  addNodeFlags(
    program
      .command('node')
      .argument('<model>', 'checkpoint folder')
      .description('be one pod of a LeaderWorkerSet group (LWS_LEADER_ADDRESS, LWS_GROUP_SIZE, LWS_WORKER_INDEX)'),
  )
    .option(
      '--nats-port <port>',
      "port of the leader's own broker, where SKEIN_NATS_URL names none",
      integer(0, 65535),
      4222,
    )
    .option('--advertise-url <url>', "how routers reach this leader (default: the leader's address and port)"),
).action(async (model: string, flags: NodeFlags & ListenFlags) => {
  await runCommand(flags, async (logger, signal) => {
    const place = parseLwsEnvironment(environment);
    const log = logger.child({ agent: `${place.group}-${place.workerIndex}` });
    const options = { ...nodeOptions(model, flags), brokerless: false };
    await (place.workerIndex === 0
      ? runLeaderAgent(place, options, log, signal)
      : runWorkerAgent(place, options, log, signal));
  });
});

listening(
  program
    .command('router')
    .description('the front door: finds leaders on the broker (SKEIN_NATS_URL) and relays requests'),
)
  .option('--api-key <key>', 'key that requests under /v1 must bring (or SKEIN_API_KEY)')
  .option('--api-key-guards-metrics', 'ask for the key at /metrics too', false)
  .option('--drain-timeout <seconds>', 'how long SIGTERM lets running streams go on', integer(0), 30)
  .addOption(logLevelOption())
  .action(
    async (
      flags: ListenFlags & { apiKey?: string; apiKeyGuardsMetrics: boolean; drainTimeout: number; logLevel?: LogLevel },
    ) => {
      await runCommand(flags, (logger, signal) =>
        runRouter(
          {
            host: flags.host,
            port: flags.port,
            natsUrl: variable('natsUrl') ?? 'nats://127.0.0.1:4222',
            groupKey: variable('groupKey'),
            apiKey: flags.apiKey ?? variable('apiKey'),
            guardMetrics: flags.apiKeyGuardsMetrics,
            drainMs: flags.drainTimeout * 1000,
          },
          logger.child({ role: 'router' }),
          signal,
        ),
      );
    },
  );

program
  .command('make-checkpoint')
  .description('write a random-weight checkpoint of a known shape, for benchmarks')
  .argument('<shape>', 'llama-3.2-1b, llama-3.2-3b, llama-3.1-8b, … or layers=…,hidden=…')
  .argument('<dir>', 'folder to write; it must not exist or be empty')
  .option('--seed <n>', 'seed of the weights', integer(0, 0xffffffff), 0)
  .option('--dtype <type>', 'bfloat16, float16 or float32', 'bfloat16')
  .option('--shard-bytes <n>', 'largest safetensors file', integer(1), 1 << 30)
  .action(async (shape: string, dir: string, flags: { seed: number; dtype: string; shardBytes: number }) => {
    await runCommand({}, async (logger, signal) => {
      await makeCheckpoint({ shape, dir, ...flags, signal });
      logger.info(`wrote ${shape} to ${dir}`);
    });
  });

await program.parseAsync();

type UpFlags = NodeFlags &
  ListenFlags & { readonly model: string; readonly pipelineParallelSize: number; readonly groups: number };

function listening(command: Command): Command {
  return command
    .option('--host <address>', 'where to listen', '127.0.0.1')
    .option('--port <port>', 'port to listen on; 0 takes any', integer(0, 65535), 8000);
}

/** The flags a user gave, as arguments for another command, less those named. */
function passedOn(command: Command, except: readonly string[]): string[] {
  return command.options.flatMap((option) => {
    const name = option.attributeName();
    const value = command.getOptionValue(name) as string | number | boolean | readonly number[] | undefined;
    if (except.includes(name) || value === undefined || value === false || !option.long) return [];
    return value === true ? [option.long] : [option.long, String(value)];
  });
}
