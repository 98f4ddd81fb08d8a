import type { ValueId } from '@skein/native';
import type { GatedActivation, ProgramRecorder } from '../program-recorder.ts';

export interface GatedMlpOptions {
  /** Prefix of its parameters. */
  readonly name: string;
  readonly intermediateSize: number;
  readonly activation: GatedActivation;
  /** Whether gate and up are two modules, or rows of one called gate_up_proj. */
  readonly projections: 'separate' | 'fused';
  readonly bias: boolean;
}

/** down(act(gate(x)) * up(x)). */
export function recordGatedMlp(
  r: ProgramRecorder,
  x: ValueId,
  { name, intermediateSize: width, activation, projections, bias }: GatedMlpOptions,
): ValueId {
  const part = (which: 'gate' | 'up', first: number): ValueId =>
    projections === 'separate'
      ? r.linear(x, `${name}.${which}_proj`, { width, bias })
      : r.linear(x, `${name}.gate_up_proj`, { width, bias, rows: { first, of: 2 * width } });
  const gated = r.gatedMul(activation, part('gate', 0), part('up', width));
  return r.linear(gated, `${name}.down_proj`, { width: r.width(x), bias });
}
