import type { Running } from './lifecycle.ts';

export interface ProcessCommand {
  readonly description: string;
  readonly takesModel: boolean;
  readonly run: (running: Running) => Promise<void>;
}

/** The parts of a command are loaded when it runs: most need few of them. */
export const processCommands: Readonly<Record<'up' | 'serve' | 'node' | 'router' | 'doctor', ProcessCommand>> = {
  up: {
    description: 'start a whole cluster on this machine: broker, router, and agents with their ranks',
    takesModel: true,
    run: async (running) => (await import('./up.ts')).up(running),
  },
  serve: {
    description: 'serve a model in one group of one rank, without a broker',
    takesModel: true,
    run: async (running) => (await import('./serve.ts')).serve(running),
  },
  node: {
    description: 'be one pod of a LeaderWorkerSet group (LWS_LEADER_ADDRESS, LWS_GROUP_SIZE, LWS_WORKER_INDEX)',
    takesModel: true,
    run: async (running) => (await import('./node.ts')).node(running),
  },
  router: {
    description: 'the front door: finds leaders on the broker and relays requests',
    takesModel: false,
    run: async (running) => (await import('./router.ts')).router(running),
  },
  doctor: {
    description:
      'say what is wrong with this machine, and in a group (LWS variables) with the network between its hosts',
    takesModel: true,
    run: async (running) => (await import('./doctor.ts')).doctor(running),
  },
};
