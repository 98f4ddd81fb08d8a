import { bytes, type Flag, integer, real, toggle } from './flag.ts';

/** What `skein plan` plans for, beside the flags of the processes it plans. */
export const planFlags = {
  gpus: integer(
    { argument: '<n>', min: 1, max: 65536 },
    {
      group: 'Plan',
      doc: 'devices that there are; with --cpu the ranks of this machine',
      commands: ['plan'],
      default: null,
      defaultDoc: '--cpu: 1, else it must be given',
    },
  ),
  gpuMemory: bytes({
    group: 'Plan',
    doc: 'memory of each device',
    commands: ['plan'],
    default: 80 * 2 ** 30,
    defaultDoc: '80GiB',
  }),
  gpusPerHost: integer(
    { argument: '<n>', min: 1, max: 1024 },
    { group: 'Plan', doc: 'devices that a pod can have', commands: ['plan'], default: 8 },
  ),
  gpuBandwidth: bytes({
    group: 'Plan',
    doc: "rate at which a device reads its memory, a second; an H100's where it is not given, and measured with --cpu",
    commands: ['plan'],
    default: null,
    defaultDoc: '3350GB',
  }),
  context: integer(
    { argument: '<tokens>', min: 1 },
    {
      group: 'Plan',
      doc: "tokens of a sequence to plan for, prompt and answer; never more than the model's longest",
      commands: ['plan'],
      default: 8192,
    },
  ),
  qps: real(
    { argument: '<rate>', above: 0, max: 1e6 },
    {
      group: 'Plan',
      doc: 'answers a second that are wanted; limits the replicas',
      commands: ['plan'],
      default: null,
      defaultDoc: 'all devices are used',
    },
  ),
  cpu: toggle({
    group: 'Plan',
    doc: 'devices are ranks on the CPUs of this machine, which share its memory; what they take is asked of the addon',
    commands: ['plan'],
    default: false,
  }),
} as const satisfies Readonly<Record<string, Flag<unknown>>>;
