import { describe } from 'vitest';
import { brokerLossCases } from './broker-loss.cases.ts';
import { messageBusCases } from './message-bus.cases.ts';
import { tcpHubKind, unixHubKind } from './testing/brokers.ts';

for (const kind of [tcpHubKind, unixHubKind]) {
  describe(kind.name, () => {
    messageBusCases(kind);
    brokerLossCases(kind);
  });
}
