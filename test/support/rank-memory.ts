import { descendants, freePort, type Launched, skein, TINY_CHAT, topology, until } from './cluster.ts';
import { pssBytes } from './process-memory.ts';

const RANK_PROCESS = /rank-process/;

/** A rank that has joined its group and holds no model: its leader waits for a second member, which never comes. */
export class EmptyRank implements AsyncDisposable {
  readonly #node: Launched;
  readonly pid: number;

  static async start(): Promise<EmptyRank> {
    const [port, natsPort] = [await freePort(), await freePort()];
    const node = skein(['node', TINY_CHAT, '--port', String(port), '--nats-port', String(natsPort), '--threads', '1'], {
      LWS_LEADER_ADDRESS: 'empty-0.empty.localhost',
      LWS_GROUP_SIZE: '2',
      LWS_WORKER_INDEX: '0',
    });
    try {
      const joined = async (): Promise<boolean> => {
        const { groups } = await topology(`http://127.0.0.1:${port}`).catch(() => ({ groups: [] }));
        return (groups[0]?.agents.length ?? 0) > 0;
      };
      await until('an empty rank', 30_000, joined);
      const rank = descendants(node.pid).find(({ command }) => RANK_PROCESS.test(command));
      if (rank === undefined) throw new Error(`no rank process:\n${node.output}`);
      return new EmptyRank(node, rank.pid);
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(node: Launched, pid: number) {
    this.#node = node;
    this.pid = pid;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#node[Symbol.asyncDispose]();
  }
}

export interface LoadedRank {
  readonly stage: number;
  /** Pss, less an empty rank's. */
  readonly bytes: number;
}

/** What each rank behind `url` takes beyond an empty one, stage by stage. What processes share counts less the more of them there
 *  are, so both are looked at while all of them run. */
export async function loadedRanks(url: string, empty: EmptyRank): Promise<LoadedRank[]> {
  const [group] = (await topology(url)).groups;
  const base = pssBytes(empty.pid) ?? NaN;
  const ranks = (group?.ranks ?? []).map(({ pid, stage }) => ({
    stage: stage ?? NaN,
    bytes: (pssBytes(pid) ?? NaN) - base,
  }));
  return ranks.sort((a, b) => a.stage - b.stage);
}
