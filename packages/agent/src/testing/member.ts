import { newIdentity } from '@skein/protocol';
import type { Member } from '../leader/membership.ts';

/** The one rank of a worker's agent. */
export function memberOf(workerIndex: number): Member {
  return {
    agent: newIdentity(`g-${workerIndex}`),
    agentAdvert: { workerIndex, host: 'h', pid: 1, layout: '', ranks: [null] },
    rank: newIdentity(`g-${workerIndex}/0`),
    advert: {
      workerIndex,
      rankIndex: workerIndex,
      pid: 1,
      hostId: 'h',
      host: 'h',
      revision: '1',
      instructionLevel: 'avx2',
      device: 'cpu',
      threads: 1,
      memoryBytes: 2 ** 34,
      ucxUnavailable: null,
    },
  };
}
