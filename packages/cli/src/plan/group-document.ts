import { type Recommendation, usedBytes } from '@skein/models';
import { stringify } from 'yaml';
import { degreeFlags, groupLayout, loadFlags } from './group-layout.ts';

const NAME_CHARS_MAX = 40;
const PORT = 8080;
/** Of a rank's process that holds no model, and of an agent with what a leader adds. */
const RANK_PROCESS_BYTES = 96 * 2 ** 20;
const AGENT_BYTES = 256 * 2 ** 20;

/** A LeaderWorkerSet that runs the formation, to be completed with an image and a volume, as in deploy/lws.yaml. */
export function groupDocument(plan: Recommendation): string {
  return [
    '# IMAGE is an image of skein after scripts/setup, MODEL a volume with the checkpoint folder; the secret skein holds the group key.',
    stringify(leaderWorkerSet(plan), { lineWidth: 0 }),
    '---',
    stringify(service(plan)),
  ].join('\n');
}

function leaderWorkerSet(plan: Recommendation): object {
  const { replicas, size } = groupLayout(plan);
  const worker = podSpec(plan, []);
  const leader = podSpec(plan, ['--host', '0.0.0.0', '--port', String(PORT)]);
  const [container] = leader.containers;
  const served = {
    ...container,
    ports: [{ containerPort: PORT, name: 'http' }],
    readinessProbe: { httpGet: { path: '/readyz', port: 'http' }, periodSeconds: 2 },
    livenessProbe: { httpGet: { path: '/livez', port: 'http' } },
  };
  return {
    apiVersion: 'leaderworkerset.x-k8s.io/v1',
    kind: 'LeaderWorkerSet',
    metadata: { name: objectName(plan) },
    spec: {
      replicas,
      leaderWorkerTemplate: {
        size,
        restartPolicy: 'RecreateGroupOnPodRestart',
        leaderTemplate: {
          metadata: { labels: { role: 'leader' } },
          spec: { terminationGracePeriodSeconds: 45, ...leader, containers: [served] },
        },
        workerTemplate: { spec: worker },
      },
    },
  };
}

function service(plan: Recommendation): object {
  const name = objectName(plan);
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: {
      selector: { 'leaderworkerset.sigs.k8s.io/name': name, role: 'leader' },
      ports: [{ port: 80, targetPort: 'http' }],
    },
  };
}

function podSpec(plan: Recommendation, args: readonly string[]) {
  return {
    containers: [
      {
        name: 'skein',
        image: 'IMAGE',
        command: ['skein', 'node', '/model', ...args, ...degreeFlags(plan, 'group'), ...loadFlags(plan)],
        env: [{ name: 'SKEIN_GROUP_KEY', valueFrom: { secretKeyRef: { name: 'skein', key: 'group-key' } } }],
        resources: podResources(plan),
        volumeMounts: [{ name: 'model', mountPath: '/model', readOnly: true }],
      },
    ],
    volumes: [{ name: 'model', persistentVolumeClaim: { claimName: 'MODEL', readOnly: true } }],
  };
}

/** Devices, or for ranks on CPUs the memory that they are predicted to take when their KV cache is full. */
function podResources(plan: Recommendation): object {
  const { devicesPerPod } = groupLayout(plan);
  const { planning, chosen } = plan;
  if (planning.devices.kind === 'gpu') return { limits: { 'nvidia.com/gpu': devicesPerPod } };
  const largest = Math.max(...chosen.ranks.map((rank) => usedBytes(rank, chosen.kvBlocks, planning.load.blockSize)));
  const bytes = (largest + RANK_PROCESS_BYTES) * devicesPerPod + AGENT_BYTES;
  return { requests: { memory: `${Math.ceil(bytes / 2 ** 20)}Mi` } };
}

/** What Kubernetes takes for a name. */
function objectName({ planning: { checkpoint } }: Recommendation): string {
  const name = checkpoint.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  return (
    name
      .replace(/^[^a-z]+/, '')
      .slice(0, NAME_CHARS_MAX)
      .replace(/-$/, '') || 'chat'
  );
}
