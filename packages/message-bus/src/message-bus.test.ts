import { describe } from 'vitest';
import { brokerLossCases, messageBusCases } from './message-bus.cases.ts';
import { brokerKinds } from './testing/brokers.ts';

for (const kind of brokerKinds) {
  describe(kind.name, () => {
    messageBusCases(kind);
    describe.concurrent('broker loss', () => brokerLossCases(kind));
  });
}
