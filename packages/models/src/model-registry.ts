import { join } from 'node:path';
import { z } from 'zod';
import { ModelConfigError } from './errors.ts';
import { deepseekV2 } from './families/deepseek-v2.ts';
import { deepseekV3 } from './families/deepseek-v3.ts';
import { gemma2, gemma3 } from './families/gemma.ts';
import { llama } from './families/llama.ts';
import { mistral } from './families/mistral.ts';
import { mixtral } from './families/mixtral.ts';
import { phi3 } from './families/phi3.ts';
import { qwen2, qwen3 } from './families/qwen.ts';
import { qwen2Moe, qwen3Moe } from './families/qwen-moe.ts';
import { describeGguf } from './gguf/gguf-checkpoint.ts';
import { ggufFiles } from './gguf/gguf-files.ts';
import { parseFields, readJsonFile } from './json-file.ts';
import type { Model, ModelFamily } from './model.ts';
import type { ParameterForm } from './program-recorder.ts';

/** The family of each name that config.json may give first under `architectures`. */
const MODEL_FAMILIES: ReadonlyMap<string, ModelFamily> = new Map([
  ['DeepseekV2ForCausalLM', deepseekV2],
  ['DeepseekV3ForCausalLM', deepseekV3],
  ['Gemma2ForCausalLM', gemma2],
  ['Gemma3ForCausalLM', gemma3],
  ['LlamaForCausalLM', llama],
  ['MistralForCausalLM', mistral],
  ['MixtralForCausalLM', mixtral],
  ['Phi3ForCausalLM', phi3],
  ['Qwen2ForCausalLM', qwen2],
  ['Qwen2MoeForCausalLM', qwen2Moe],
  ['Qwen3ForCausalLM', qwen3],
  ['Qwen3MoeForCausalLM', qwen3Moe],
]);

export const KNOWN_ARCHITECTURES: readonly string[] = [...MODEL_FAMILIES.keys()].sort();

/** The model of a checkpoint: of a directory by its config.json, of a GGUF file (or the one in a directory) by its values. Reads
 *  no weights. Throws ModelConfigError, CheckpointError. */
export async function readModel(dir: string): Promise<Model> {
  const [gguf, ...parts] = ggufFiles(dir) ?? [];
  if (gguf !== undefined) {
    const { document, form } = describeGguf([gguf, ...parts]);
    return withParametersOf(form, parseModel(document, gguf));
  }
  const file = join(dir, 'config.json');
  return parseModel(await readJsonFile(file, ModelConfigError), file);
}

/** @param file names the document in errors. */
export function parseModel(document: unknown, file: string): Model {
  const { architectures } = parseFields(z.object({ architectures: z.array(z.string()).min(1) }), document, {
    file,
    ErrorClass: ModelConfigError,
  });
  const family = MODEL_FAMILIES.get(architectures[0] ?? '');
  if (family !== undefined) return family(document, file);
  throw new ModelConfigError(
    `${file}: architectures is ${JSON.stringify(architectures)}; served are ${KNOWN_ARCHITECTURES.join(', ')}`,
    { details: { file, field: 'architectures', value: architectures } },
  );
}

/** The model, over parameters of another form than its family's own. */
function withParametersOf(form: ParameterForm, model: Model): Model {
  return {
    ...model,
    record(recorder, stage) {
      recorder.storedAs(form);
      model.record(recorder, stage);
    },
  };
}
