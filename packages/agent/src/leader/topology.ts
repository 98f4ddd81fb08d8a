import type { GroupTopology } from '@skein/protocol';
import type { Formation } from './formation.ts';

/** The group as `GET /v1/skein/topology` shows it: what the leader decided, with what each rank says of itself now. */
export async function groupTopology(
  formation: Formation,
  about: Pick<GroupTopology, 'url' | 'model' | 'quantization' | 'warnings'> & { readonly group: string },
): Promise<GroupTopology> {
  const { state, sinceMs, detail, epoch, members, plan, fingerprint } = formation.current;
  const statuses = await Promise.all(members.map((m) => formation.status(m)));
  const names = members.map((m) => m.rank.name);
  return {
    name: about.group,
    url: about.url,
    ready: state === 'ready',
    state: detail === '' ? state : `${state}: ${detail}`,
    stateSeconds: (performance.now() - sinceMs) / 1000,
    epoch,
    model: about.model,
    quantization: about.quantization,
    fingerprint,
    warnings: [...about.warnings, ...(plan?.warnings ?? [])],
    agents: formation.membership
      .agents()
      .map(({ identity, advert: { workerIndex, host, pid } }) => ({ ...identity, workerIndex, host, pid })),
    ranks: members.map(({ rank, advert }, stage) => {
      const status = statuses[stage] ?? null;
      const layers = plan?.layers[stage] ?? null;
      return {
        ...rank,
        workerIndex: advert.workerIndex,
        pid: advert.pid,
        host: advert.host,
        stage,
        layers: layers ? [layers[0], layers[1]] : null,
        device: advert.device,
        instructionLevel: advert.instructionLevel,
        state: status?.state ?? 'failed',
        stateSeconds: status?.stateSeconds ?? 0,
        detail: status?.detail ?? 'does not answer',
      };
    }),
    pairs: statuses.flatMap((status, stage) =>
      (status?.pairs ?? []).map(({ peer, transport, bytes, messages }) => ({
        from: names[stage] ?? '',
        to: names[Number(peer.replace('stage-', ''))] ?? peer,
        transport,
        bytes,
        messages,
      })),
    ),
  };
}
