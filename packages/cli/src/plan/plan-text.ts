import {
  ANSWER_TOKENS,
  BANDWIDTH_SHARE,
  type RankMemory,
  type Recommendation,
  shownBytes,
  type SizedFormation,
  usableBytes,
  usedBytes,
} from '@skein/models';
import { degreeFlags, groupLayout, loadFlags } from './group-layout.ts';
import { clusterArgs } from './plan-document.ts';

const OTHERS_MAX = 4;

/** For people. */
export function planText(plan: Recommendation, model: string): string {
  const { planning, chosen, reasons } = plan;
  const { tensor, pipeline, data, isExpertParallel } = chosen.degrees;
  const ranks = tensor * pipeline * data;
  return [
    ...heading(plan),
    '',
    `tensor ${tensor}, pipeline ${pipeline}, data ${data}${isExpertParallel ? `, experts over ${tensor * data}` : ''}: ${ranks} rank${ranks === 1 ? '' : 's'}`,
    ...table([
      ['  tensor', String(tensor), reasons.tensor],
      ['  pipeline', String(pipeline), reasons.pipeline],
      ['  data', String(data), reasons.data],
      ['  expert', isExpertParallel ? 'on' : 'off', reasons.expert],
    ]),
    '',
    ...memory(plan),
    '',
    ...alternatives(plan),
    ...balance(plan),
    ...commands(plan, model),
    '',
    planning.devices.kind === 'gpu' ? 'There is no GPU backend yet: these are figures for one.' : null,
  ]
    .filter((line) => line !== null)
    .join('\n')
    .concat('\n');
}

function heading({ planning: { checkpoint, devices, load }, facts }: Recommendation): string[] {
  const { parameters, numLayers, numHeads, numKVHeads, numExperts } = facts;
  const heads = `${numHeads} heads${numKVHeads === null ? ' over one latent row' : `, ${numKVHeads} KV heads`}`;
  const experts = numExperts > 0 ? `, ${numExperts} experts of which a token has ${facts.expertsPerToken}` : '';
  const assumed = checkpoint.isAssumed ? ' (no weights to look at: sizes follow from the config)' : '';
  const usable = `${shownBytes(usableBytes(devices))} of each usable`;
  return [
    `${checkpoint.name}: ${count(parameters)} parameters in ${shownBytes(facts.weightBytes)}, ${numLayers} layers, ${heads}${experts}${assumed}`,
    `${devices.count} ${devices.kind === 'gpu' ? 'device' : 'CPU rank'}${devices.count === 1 ? '' : 's'} of ${shownBytes(devices.memoryBytes)}, ${devices.perHost} a host, ${usable}; sequences of ${load.context} tokens, KV cache in ${load.kvDtype}`,
  ];
}

function memory({ planning, chosen }: Recommendation): string[] {
  const { load, devices } = planning;
  const { kvBlocks } = chosen;
  const used = (rank: RankMemory): number => usedBytes(rank, kvBlocks, load.blockSize);
  const fullest = chosen.ranks.reduce((a, b) => (used(b) > used(a) ? b : a));
  const kvBytes = kvBlocks * load.blockSize * fullest.kvTokenBytes;
  const { maxTokens } = load.limits;
  const onGpu = devices.kind === 'gpu';
  const rows: (readonly [string, string, string])[] = [
    [
      '  weights',
      shownBytes(fullest.weightBytes),
      onGpu ? 'its part of each parameter, as stored' : 'as the addon packs them',
    ],
    [
      '  KV cache',
      shownBytes(kvBytes),
      `${kvBlocks * load.blockSize} tokens of ${shownBytes(fullest.kvTokenBytes)}: ${chosen.sequences} sequences in all`,
    ],
    [
      '  buffers',
      shownBytes(fullest.bufferBytes),
      onGpu
        ? `${maxTokens} tokens x (3 x hidden + 2 x its widest layer + what ranks gather) x 4 B`
        : `of steps of ${maxTokens} tokens`,
    ],
    ['  logits', shownBytes(fullest.logitBytes), `of the rows of a step that need them whole`],
    [
      '  runtime',
      shownBytes(fullest.runtimeBytes),
      onGpu ? 'context, kernels, collectives' : 'of running; the process itself takes about 60 MiB more',
    ],
    ['  channels', shownBytes(fullest.channelBytes), 'to other ranks, half at either end'],
    ['  together', shownBytes(used(fullest)), `of ${shownBytes(usableBytes(devices))}`],
  ];
  const which = chosen.ranks.length > 1 ? ` (stage ${fullest.stage}, the fullest)` : '';
  return [`memory of a rank${which}`, ...table(rows.filter(([, bytes]) => bytes !== '0'))];
}

function alternatives(plan: Recommendation): string[] {
  const { chosen, others, least, rate } = plan;
  const row = (f: SizedFormation, note: string) => {
    const { tensor, pipeline, data, isExpertParallel } = f.degrees;
    const weights = Math.max(...f.ranks.map((rank) => rank.weightBytes));
    return [
      `  ${tensor} x ${pipeline} x ${data}${isExpertParallel ? ' EP' : ''}`,
      `${shownBytes(weights)} of weights`,
      `${f.sequences} sequences`,
      note,
    ];
  };
  const rest = others.filter((f) => f !== least).slice(-OTHERS_MAX);
  const isLeast = least.degrees.tensor * least.degrees.pipeline === chosen.degrees.tensor * chosen.degrees.pipeline;
  return [
    'tensor x pipeline x data, each rank and all together',
    ...table([
      row(chosen, 'recommended'),
      ...(isLeast ? [] : [row(least, 'the fewest ranks that hold it')]),
      ...rest.map((f) => row(f, '')),
    ]),
    `decoding reads memory: ${rate.tokenMs.toFixed(1)} ms a token for a lone sequence, ${Math.round(rate.tokensPerSecond)} tokens/s (${rate.requestsPerSecond.toFixed(1)} answers of ${ANSWER_TOKENS} a second) for a full group, at ${BANDWIDTH_SHARE * 100} % of the bandwidth`,
    '',
  ];
}

function balance({ balance: of }: Recommendation): string[] {
  if (of === null) return [];
  const { now, best } = of;
  const gain = 1 - best.slowest / now.slowest;
  const stages = `layers ${now.partition.join(',')}: the slowest stage reads ${shownBytes(now.slowest)} a step`;
  return gain < 0.01
    ? [`${stages}, and no other split is better`, '']
    : [
        `${stages}; --pp-layer-partition=${best.partition.join(',')} reads ${shownBytes(best.slowest)}, ${Math.round(gain * 100)} % less`,
        '',
      ];
}

function commands(plan: Recommendation, model: string): string[] {
  const { replicas, size, devicesPerPod } = groupLayout(plan);
  const group = [...degreeFlags(plan, 'group'), ...loadFlags(plan)];
  return [
    'on one machine',
    `  skein up ${clusterArgs(plan, model).join(' ')}`,
    `LeaderWorkerSet: replicas ${replicas}, size ${size}, ${devicesPerPod} device${devicesPerPod === 1 ? '' : 's'} a pod (--yaml prints it); each pod`,
    `  skein node /model ${group.join(' ')}`,
  ];
}

function count(parameters: number): string {
  if (parameters < 1e6) return `${(parameters / 1e3).toFixed(1)} thousand`;
  return parameters < 1e9 ? `${(parameters / 1e6).toFixed(1)} million` : `${(parameters / 1e9).toFixed(2)} billion`;
}

/** Columns as wide as their widest cell; the last is free. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
