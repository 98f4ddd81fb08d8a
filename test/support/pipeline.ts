import { stagePeer } from '@skein/models';
import { Link, ProgramInterpreter } from '@skein/models/testing';
import {
  type Device,
  type NativeAddon,
  packStepInput,
  type Program,
  type ProgramSpec,
  type StepInput,
  type Transport,
  unpackStepOutput,
} from '@skein/native';

const DEADLINE_MS = 60_000;
const CHANNEL_BYTES = 4 * 2 ** 20;

/** All stages of one model in this process. */
export interface Pipeline extends AsyncDisposable {
  /** Gives every stage the step; answers with the last one's ids by row. */
  run(input: StepInput): Promise<number[]>;
  /** Of the last step that finished: [rows, vocab]. */
  lastLogits(): Float32Array;
}

/** The stages' links: activations to the next, tokens from the last to the first. */
function linksOf(count: number): { from: number; to: number }[] {
  const forward = Array.from({ length: count - 1 }, (_, i) => ({ from: i, to: i + 1 }));
  return count > 1 ? [...forward, { from: count - 1, to: 0 }] : [];
}

export function openInterpreted(specs: readonly ProgramSpec[]): Pipeline {
  const stages = specs.map((spec) => new ProgramInterpreter(spec));
  for (const { from, to } of linksOf(stages.length)) {
    const link = new Link();
    stages[from]?.connect('send', stagePeer(to), link);
    stages[to]?.connect('recv', stagePeer(from), link);
  }
  return {
    async run(input) {
      const words = packStepInput(input);
      return (await Promise.all(stages.map((stage) => stage.run(words)))).at(-1) ?? [];
    },
    lastLogits: () => stages.at(-1)?.lastLogits() ?? new Float32Array(),
    async [Symbol.asyncDispose]() {},
  };
}

export async function openNative(
  addon: NativeAddon,
  specs: readonly ProgramSpec[],
  threads: number,
): Promise<Pipeline> {
  const device: Device = addon.createDevice({ backend: 'cpu', threads });
  const transport: Transport | null = specs.length > 1 ? addon.createTransport({ interfaceName: null }) : null;
  const stages: Program[] = specs.map((spec) => addon.createProgram(device, spec));
  const close = (): void => {
    for (const stage of stages) stage.close();
    transport?.close();
    device.close();
  };
  try {
    for (const stage of stages) await stage.load(null);
    stages.at(-1)?.keepLogits(true);
    for (const { from, to } of linksOf(stages.length)) {
      if (transport === null) continue;
      const name = `${stagePeer(from)}-to-${stagePeer(to)}`;
      const receive = transport.openReceive({ name, transport: 'shm', capacityBytes: CHANNEL_BYTES });
      const send = await transport.openSend({
        name,
        transport: 'shm',
        descriptor: receive.descriptor(),
        deadlineMs: DEADLINE_MS,
      });
      stages[from]?.bindSend(stagePeer(to), send);
      stages[to]?.bindReceive(stagePeer(from), receive);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    async run(input) {
      const words = packStepInput(input);
      const outputs = await Promise.all(stages.map((stage) => stage.run(words, DEADLINE_MS)));
      const last = outputs.at(-1);
      return last === undefined ? [] : unpackStepOutput(last.words).map((row) => row.tokenId);
    },
    lastLogits: () => stages.at(-1)?.lastLogits() ?? new Float32Array(),
    async [Symbol.asyncDispose]() {
      close();
    },
  };
}
