import { describe } from 'vitest';
import { actorCases } from './actor.cases.ts';
import { actorProcessCases } from './actor-process.cases.ts';
import { placementCases } from './placement.cases.ts';
import { localPlace, natsPlace } from './testing/place.ts';

describe('on a local hub', () => {
  actorCases(localPlace);
  actorProcessCases(localPlace);
  placementCases(localPlace);
});

describe('on nats-server', () => {
  actorCases(natsPlace);
  actorProcessCases(natsPlace);
  placementCases(natsPlace);
});
