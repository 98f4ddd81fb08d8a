import { connectNats, natsToken, startLocalHub, startNatsServer } from '@skein/message-bus';
import { newIdentity } from '@skein/protocol';
import { describe } from 'vitest';
import { actorCases } from './actor.cases.ts';

const groupKey = 'a key for tests';

describe('on a local hub', () => {
  actorCases(async () => {
    const hub = await startLocalHub({ listen: { host: '127.0.0.1', port: 0 }, groupKey });
    if (!hub.address || !('port' in hub.address)) throw new Error('the hub has no port');
    return {
      connect: async (name) => hub.connect(newIdentity(name)),
      address: { bus: { hub: hub.address }, groupKey },
      [Symbol.asyncDispose]: () => hub.close(),
    };
  });
});

describe('on nats-server', () => {
  actorCases(async () => {
    const server = await startNatsServer({ host: '127.0.0.1', port: 0, token: natsToken(groupKey) });
    return {
      connect: (name) =>
        connectNats({ servers: [server.url], identity: newIdentity(name), groupKey, deadlineMs: 5000 }),
      address: { bus: { natsUrl: server.url }, groupKey },
      [Symbol.asyncDispose]: () => server.stop(),
    };
  });
});
