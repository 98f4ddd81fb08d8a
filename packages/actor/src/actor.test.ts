import { describe } from 'vitest';
import { actorCases } from './actor.cases.ts';
import { actorProcessCases } from './actor-process.cases.ts';
import { localPlace, natsPlace } from './testing/place.ts';

describe('on a local hub', () => {
  actorCases(localPlace);
  actorProcessCases(localPlace);
});

describe('on nats-server', () => {
  actorCases(natsPlace);
  actorProcessCases(natsPlace);
});
