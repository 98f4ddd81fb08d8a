import { describe } from 'vitest';
import { brokerLossCases } from './broker-loss.cases.ts';
import { messageBusCases } from './message-bus.cases.ts';
import { natsKind } from './testing/brokers.ts';

describe(natsKind.name, () => {
  messageBusCases(natsKind);
  brokerLossCases(natsKind);
});
