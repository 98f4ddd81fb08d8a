export { makeCheckpoint, type MakeCheckpointOptions } from './make-checkpoint.ts';
