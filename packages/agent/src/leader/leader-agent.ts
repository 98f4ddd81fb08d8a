import { startLocalHub } from '@skein/message-bus';
import { stageLayers } from '@skein/models';
import { newIdentity } from '@skein/protocol';
import type { Logger } from '@skein/telemetry';
import { busWarnings, natsBus } from '../bus.ts';
import { isLoopback, natsUrlOf, resolveLeader } from '../host.ts';
import type { GroupPlace } from '../lws-environment.ts';
import { hostInterface } from '../network/host-network.ts';
import type { NodeOptions } from '../node-options.ts';
import { servePreflight } from '../preflight/preflight-service.ts';
import { AgentRanks } from '../rank/agent-ranks.ts';
import { Broker } from './broker.ts';
import { readServedModel } from './served-model.ts';

/** The leader of a group: the broker where none is given, the direct link, its own ranks, the formation, the engine and the
 *  OpenAI server. Runs until `signal`, then drains. With a group of one and `brokerless` there is the local bus alone. */
export async function runLeaderAgent(
  place: GroupPlace,
  options: NodeOptions & { readonly brokerless: boolean },
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const { group, groupSize } = place;
  // Weights that cannot be served, and a split that cannot be, are mistakes of the configuration: said before anyone joins.
  const model = await readServedModel(options);
  stageLayers(model.config.numLayers, options.shape.stages, options.layerPartition);
  const { numTensors: tensors, numUnneededTensors: unneededTensors, quantization } = model;
  const { architecture } = model.config;
  logger.info({ model: model.names[0], architecture, quantization, tensors, unneededTensors }, 'read the model');
  const address =
    groupSize === 1 && options.brokerless ? '127.0.0.1' : await resolveLeader(place.leaderAddress, { logger, signal });
  const chosen = await hostInterface(address, options.interfaces);
  const bindHost = isLoopback(address) ? address : address.includes(':') ? '::' : '0.0.0.0';
  const identity = newIdentity(group);
  await using stack = new AsyncDisposableStack();

  const hub = await startLocalHub({
    listen: { host: bindHost, port: 0 },
    groupKey: options.groupKey,
    onWarning: busWarnings(logger),
  });
  stack.defer(() => hub.close());
  const directAddress = { host: address, port: hub.address && 'port' in hub.address ? hub.address.port : 0 };
  const direct = hub.connect(identity);
  const broker =
    options.brokerless || options.natsUrl !== null
      ? null
      : stack.use(await Broker.start({ host: bindHost, port: options.natsPort, groupKey: options.groupKey, logger }));
  const natsUrl = options.brokerless ? null : (options.natsUrl ?? natsUrlOf(address, broker?.port ?? options.natsPort));
  const main =
    natsUrl === null ? direct : await natsBus(natsUrl, { identity, groupKey: options.groupKey, logger, signal });
  if (main !== direct) stack.defer(() => main.close());
  // Before the agent is announced: whoever sees it may ask.
  if (groupSize > 1) stack.use(servePreflight(main, { group, workerIndex: 0, groupKey: options.groupKey, chosen }));
  const ranks = new AgentRanks({
    place,
    options,
    bus: main,
    rankBus: natsUrl === null ? { hub: directAddress } : { natsUrl },
    chosen,
    logger,
  });
  stack.defer(() => ranks.close());

  // The ranks' processes come up while this one reads the engine and the server.
  const { serveGroup } = await import('./group-server.ts');
  await serveGroup(
    { place, options, model, address, main, direct, directAddress, brokerPort: broker?.port ?? null },
    logger,
    signal,
  );
}
