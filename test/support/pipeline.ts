import { strict as assert } from 'node:assert';
import { type FormationShape, rankChannels, TENSOR_GROUP } from '@skein/models';
import { Link, ProgramInterpreter } from '@skein/models/testing';
import {
  type Device,
  type ExpertLoad,
  type NativeAddon,
  packStepInput,
  type Program,
  type ProgramSpec,
  type RawStepOutput,
  type StepInput,
  type Transport,
  unpackStepOutput,
} from '@skein/native';

const DEADLINE_MS = 60_000;
const CHANNEL_BYTES = 2 ** 20;

/** All ranks of one model in this process. */
export interface Pipeline extends AsyncDisposable {
  /** Gives every rank the step; answers with the last stage's ids by row, which all its ranks agree on. */
  run(input: StepInput): Promise<number[]>;
  /** Of the last step that finished: [rows, vocab]. */
  lastLogits(): Float32Array;
  /** What the experts of each rank have computed; interpreted ones do not count. */
  expertLoads(): ExpertLoad[][];
}

function shapeOf(specs: readonly ProgramSpec[]): FormationShape {
  const tensorSize = specs[0]?.groups.find(({ name }) => name === TENSOR_GROUP)?.size ?? 1;
  return { stages: specs.length / tensorSize, tensorSize, expertReplicas: 1 };
}

/** What the ranks of the last stage answer, which is the same. */
function agreed(answers: readonly (readonly number[])[], { tensorSize }: FormationShape): number[] {
  const [first = [], ...others] = answers.slice(-tensorSize);
  for (const other of others) assert.deepEqual(other, first);
  return [...first];
}

/** @param specs of every rank, stage by stage. */
export function openInterpreted(specs: readonly ProgramSpec[]): Pipeline {
  const shape = shapeOf(specs);
  const ranks = specs.map((spec) => new ProgramInterpreter(spec));
  for (const { from, to, fromPeer, toPeer } of rankChannels(shape)) {
    const link = new Link();
    ranks[from]?.connect('send', toPeer, link);
    ranks[to]?.connect('recv', fromPeer, link);
  }
  return {
    async run(input) {
      const words = packStepInput(input);
      return agreed(await Promise.all(ranks.map((rank) => rank.run(words))), shape);
    },
    lastLogits: () => ranks.at(-1)?.lastLogits() ?? new Float32Array(),
    expertLoads: () => [],
    async [Symbol.asyncDispose]() {},
  };
}

/** `threads` are divided over the ranks' devices, and each has at least one. */
export async function openNative(
  addon: NativeAddon,
  specs: readonly ProgramSpec[],
  threads: number,
): Promise<Pipeline> {
  const devices: Device[] = specs.map(() =>
    addon.createDevice({ backend: 'cpu', threads: Math.max(1, Math.floor(threads / specs.length)) }),
  );
  const shape = shapeOf(specs);
  const transport: Transport | null =
    specs.length > 1 ? addon.createTransport({ interfaceName: null, prefersIpv6: false }) : null;
  const ranks: Program[] = devices.map((device, rank) => addon.createProgram(device, specs[rank] as ProgramSpec));
  const close = (): void => {
    for (const rank of ranks) rank.close();
    transport?.close();
    for (const device of devices) device.close();
  };
  try {
    for (const rank of ranks) await rank.load(null);
    for (const rank of ranks.slice(-shape.tensorSize)) rank.keepLogits(true);
    for (const { from, to, fromPeer, toPeer } of rankChannels(shape)) {
      if (transport === null) continue;
      const name = `${from}-to-${to}`;
      const receive = transport.openReceive({ name, transport: 'shm', capacityBytes: CHANNEL_BYTES });
      const send = await transport.openSend({
        name,
        transport: 'shm',
        descriptor: receive.descriptor(),
        deadlineMs: DEADLINE_MS,
      });
      ranks[from]?.bindSend(toPeer, send);
      ranks[to]?.bindReceive(fromPeer, receive);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    async run(input) {
      const words = packStepInput(input);
      const outputs = await Promise.all(ranks.map((rank) => rank.run(words, DEADLINE_MS)));
      const idsOf = (raw: RawStepOutput): number[] =>
        raw.words.length === 0 ? [] : unpackStepOutput(raw.words).map((row) => row.tokenId);
      return agreed(outputs.map(idsOf), shape);
    },
    lastLogits: () => ranks.at(-1)?.lastLogits() ?? new Float32Array(),
    expertLoads: () => ranks.map((rank) => rank.expertLoads()),
    async [Symbol.asyncDispose]() {
      close();
    },
  };
}
