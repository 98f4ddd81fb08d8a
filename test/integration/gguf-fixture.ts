import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readCheckpointTensors, readModel } from '@skein/models';
import { readCases, readFixture, type ReferenceModel } from './fixture.ts';

const ROOT = fileURLToPath(new URL('../fixtures/gguf/', import.meta.url));

const names = readdirSync(ROOT)
  .filter((name) => name.endsWith('.gguf'))
  .map((name) => name.slice(0, -'.gguf'.length))
  .sort();

/** family.case: the same weights as the fixture family/case, in the same types. */
export const convertedNames: readonly string[] = names.filter((name) => name.includes('.'));

/** Weights of their own. */
export const ownNames: readonly string[] = names.filter((name) => !name.includes('.'));

export interface GgufFixture extends ReferenceModel {
  readonly file: string;
  /** Of each tensor, under the file's name for it: the first 16 digits of the SHA-256 of its values in f32. */
  readonly dequantized: ReadonlyMap<string, string>;
}

export async function readGgufFixture(name: string): Promise<GgufFixture> {
  const file = `${ROOT}${name}.gguf`;
  const model = await readModel(file);
  const tensors = await readCheckpointTensors(file);
  if (name.includes('.')) {
    const { cases } = await readFixture(name.replace('.', '/'));
    return { name, file, model, tensors, cases, dequantized: new Map() };
  }
  const expected = JSON.parse(readFileSync(`${ROOT}${name}.json`, 'utf8'));
  const dequantized = new Map(Object.entries<string>(expected.dequantized));
  return { name, file, model, tensors, cases: readCases(expected.cases, model.config.vocabSize), dequantized };
}
