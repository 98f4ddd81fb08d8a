import type { TensorSource } from '@skein/native';
import { readGgufTensors } from './gguf/gguf-checkpoint.ts';
import { ggufFiles } from './gguf/gguf-files.ts';
import { readSafetensorsDirectory } from './safetensors.ts';

/** All tensors of a checkpoint, by the names of the family's parameters: of a directory of safetensors files, or of a GGUF file (or
 *  the one in a directory). Reads headers only. Throws CheckpointError naming file and tensor. */
export async function readCheckpointTensors(path: string): Promise<Map<string, TensorSource>> {
  const gguf = ggufFiles(path);
  return gguf === null ? readSafetensorsDirectory(path) : readGgufTensors(gguf);
}
