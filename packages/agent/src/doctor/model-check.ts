import { checkCheckpoint, modelFingerprint, readCheckpointTensors, readModel } from '@skein/models';
import { type Check, fail, ok, reasonOf } from './check.ts';

/** Whether a folder or GGUF file can be served. @returns with what two hosts can compare their files by; null when it cannot. */
export async function modelCheck(dir: string): Promise<{ readonly check: Check; readonly fingerprint: string | null }> {
  const name = 'model';
  try {
    const model = await readModel(dir);
    const tensors = await readCheckpointTensors(dir);
    checkCheckpoint({ model, tensors });
    // What the flags decide is left at fixed values: the files alone are compared.
    const fingerprint = await modelFingerprint({ model, tensors, maxModelLen: 1, blockSize: 16, dtype: 'f32' });
    const { architecture, numLayers } = model.config;
    return { check: ok(name, `${dir}: ${architecture}, ${numLayers} layers, ${fingerprint}`), fingerprint };
  } catch (error) {
    return { check: fail(name, reasonOf(error), null), fingerprint: null };
  }
}
