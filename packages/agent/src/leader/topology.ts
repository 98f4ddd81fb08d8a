import type { GroupTopology } from '@skein/protocol';
import { placeOf } from '../group-shape.ts';
import type { Formation } from './formation.ts';

/** The group as `GET /v1/skein/topology` shows it: what the leader decided, with what each rank says of itself now.
 *  @param formations one of each replica, at least one. */
export async function groupTopology(
  formations: readonly Formation[],
  about: Pick<GroupTopology, 'url' | 'model' | 'quantization' | 'warnings' | 'network'> & { readonly group: string },
): Promise<GroupTopology> {
  const current = formations.map((formation) => formation.current);
  const parts = await Promise.all(formations.map(replicaTopology));
  const states = new Set(current.map(({ state, detail }) => (detail === '' ? state : `${state}: ${detail}`)));
  return {
    name: about.group,
    url: about.url,
    ready: current.every(({ state }) => state === 'ready'),
    state: [...states].join('; '),
    stateSeconds: (performance.now() - Math.max(...current.map(({ sinceMs }) => sinceMs))) / 1000,
    epoch: Math.max(...current.map(({ epoch }) => epoch)),
    model: about.model,
    quantization: about.quantization,
    fingerprint: current.find(({ fingerprint }) => fingerprint !== '')?.fingerprint ?? '',
    warnings: [...new Set([...about.warnings, ...current.flatMap(({ plan }) => plan?.warnings ?? [])])],
    agents: (formations[0]?.membership.agents() ?? []).map(({ identity, advert: { workerIndex, host, pid } }) => ({
      ...identity,
      workerIndex,
      host,
      pid,
    })),
    ranks: parts.flatMap(({ ranks }) => ranks),
    pairs: parts.flatMap(({ pairs }) => pairs),
    network: about.network,
  };
}

async function replicaTopology(formation: Formation): Promise<Pick<GroupTopology, 'ranks' | 'pairs'>> {
  const { members, plan } = formation.current;
  const statuses = await Promise.all(members.map((member) => formation.status(member)));
  const names = members.map(({ rank }) => rank.name);
  return {
    ranks: members.map(({ rank, advert }, index) => {
      const status = statuses[index] ?? null;
      const place = placeOf(advert.rankIndex, formation.shape);
      const layers = plan?.layers[place.stage] ?? null;
      return {
        ...rank,
        ...place,
        workerIndex: advert.workerIndex,
        rankIndex: advert.rankIndex,
        pid: advert.pid,
        host: advert.host,
        layers: layers ? [layers[0], layers[1]] : null,
        device: advert.device,
        instructionLevel: advert.instructionLevel,
        state: status?.state ?? 'failed',
        stateSeconds: status?.stateSeconds ?? 0,
        detail: status?.detail ?? 'does not answer',
        steps: status?.steps ?? 0,
        computeUs: status?.computeUs ?? 0,
        waitUs: status?.waitUs ?? 0,
      };
    }),
    pairs: statuses.flatMap((status, index) =>
      (status?.pairs ?? []).map(({ peer, transport, bytes, messages }) => {
        const channel = plan?.channels.find((c) => c.from === index && c.toPeer === peer);
        return {
          from: names[index] ?? '',
          to: (channel && names[channel.to]) ?? peer,
          transport,
          bytes,
          messages,
        };
      }),
    ),
  };
}
