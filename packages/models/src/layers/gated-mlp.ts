import type { ValueId } from '@skein/native';
import type { GatedActivation, ProgramRecorder } from '../program-recorder.ts';
import { rowSlices } from '../tensor-shard.ts';

export interface GatedMlpOptions {
  /** Prefix of its parameters. */
  readonly name: string;
  readonly intermediateSize: number;
  readonly activation: GatedActivation;
  /** Whether gate and up are two modules, or rows of one called gate_up_proj. */
  readonly projections: 'separate' | 'fused';
  readonly bias: boolean;
}

/** down(act(gate(x)) * up(x)). Each rank has a part of the inner columns. */
export function recordGatedMlp(
  r: ProgramRecorder,
  x: ValueId,
  { name, intermediateSize, activation, projections, bias }: GatedMlpOptions,
): ValueId {
  const slices = rowSlices(intermediateSize, r.tensor.size, `${name}.gate_proj`);
  const { first, count: width } = r.own(slices);
  const part = (which: 'gate' | 'up', offset: number): ValueId =>
    projections === 'separate'
      ? r.linear(x, `${name}.${which}_proj`, { width, bias, rows: { first, of: intermediateSize } })
      : r.linear(x, `${name}.gate_up_proj`, {
          width,
          bias,
          rows: { first: offset + first, of: 2 * intermediateSize },
        });
  const gated = r.gatedMul(activation, part('gate', 0), part('up', intermediateSize));
  const widths = slices.map(({ count }) => count);
  return r.mergeLinear(gated, `${name}.down_proj`, { widths, width: r.width(x), bias });
}
