import { ConfigError } from './errors.ts';

/** Where this agent stands in its LeaderWorkerSet group. */
export interface GroupPlace {
  /** `<lws>-<group index>`, the leader's pod name: the group's name everywhere. */
  readonly group: string;
  readonly groupIndex: number;
  readonly groupSize: number;
  /** 0 is the leader. */
  readonly workerIndex: number;
  readonly leaderAddress: string;
  /** Host names by worker index, as LWS names its pods; the leader's address for an address without a pod name. */
  readonly peers: readonly string[];
}

/** Reads the three variables LWS injects (kubernetes-sigs/lws, pkg/utils/pod). LWS has no group-index variable: it is the
 *  number after the last dash of the leader's pod name; `LWS_GROUP_INDEX` is accepted where the address has none. */
export function parseLwsEnvironment(env: Readonly<Record<string, string | undefined>>): GroupPlace {
  // An IPv6 address may stand in brackets, as in a URL.
  const leaderAddress = (env['LWS_LEADER_ADDRESS'] ?? '').trim().replace(/^\[(.*)\]$/, '$1');
  if (leaderAddress === '') {
    throw new ConfigError(
      'ERR_LWS_ENVIRONMENT',
      'LWS_LEADER_ADDRESS is empty; LeaderWorkerSet sets it, elsewhere set it to the host name of worker 0',
    );
  }
  if (/[\s/,]/.test(leaderAddress)) {
    throw new ConfigError(
      'ERR_LWS_ENVIRONMENT',
      `LWS_LEADER_ADDRESS is "${leaderAddress}"; it must be one host name or address`,
    );
  }
  const groupSize = integer(env, 'LWS_GROUP_SIZE', 1, 4096);
  const workerIndex = integer(env, 'LWS_WORKER_INDEX', 0, groupSize - 1);
  const [, podName = leaderAddress, number, rest = ''] =
    /^((?:[^.:]*[^.:\d-])-(\d+))((?:\..*)?)$/.exec(leaderAddress) ?? [];
  const groupIndex =
    number === undefined
      ? integer({ LWS_GROUP_INDEX: env['LWS_GROUP_INDEX'] || '0' }, 'LWS_GROUP_INDEX', 0, 1e6)
      : Number(number);
  const peers = Array.from({ length: groupSize }, (_, i) =>
    i === 0 || number === undefined ? leaderAddress : `${podName}-${i}${rest}`,
  );
  return {
    group: number === undefined ? `${leaderAddress}-${groupIndex}` : podName,
    groupIndex,
    groupSize,
    workerIndex,
    leaderAddress,
    peers,
  };
}

function integer(env: Readonly<Record<string, string | undefined>>, name: string, min: number, max: number): number {
  const text = env[name]?.trim() ?? '';
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new ConfigError(
    'ERR_LWS_ENVIRONMENT',
    `${name} is ${text === '' ? 'not set' : `"${text}"`}; it must be an integer from ${min} to ${max}`,
  );
}
