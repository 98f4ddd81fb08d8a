import { open } from 'node:fs/promises';
import type { SkeinError, SkeinErrorOptions } from '@skein/protocol';
import type { z } from 'zod';

const SIZE_BYTES_MAX = 100 * 2 ** 20;

type ErrorClass = new (message: string, options?: SkeinErrorOptions) => SkeinError;

/** Reads a JSON file of at most 100 MiB. Throws `ErrorClass` naming the file. */
export async function readJsonFile(file: string, ErrorClass: ErrorClass): Promise<unknown> {
  try {
    await using handle = await open(file, 'r');
    const { size } = await handle.stat();
    if (size > SIZE_BYTES_MAX)
      throw new ErrorClass(
        `${file}: ${size} bytes is more than the ${SIZE_BYTES_MAX} a JSON file of a checkpoint may have`,
      );
    return JSON.parse(await handle.readFile('utf8'));
  } catch (error) {
    if (error instanceof ErrorClass) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new ErrorClass(`${file}: cannot be read as JSON (${why}); download the checkpoint again`, {
      cause: error,
      details: { file },
    });
  }
}

/** Checks `value` against `schema`; the error names file, field, what was found and what is wanted. */
export function parseFields<T>(
  schema: z.ZodType<T>,
  value: unknown,
  where: { readonly file: string; readonly ErrorClass: ErrorClass },
): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path ?? [];
  const found = path.reduce<unknown>(
    (v, key) => (v === null || typeof v !== 'object' ? undefined : Reflect.get(v, key)),
    value,
  );
  const field = path.length === 0 ? 'the document' : path.join('.');
  const shown = found === undefined ? 'missing' : JSON.stringify(found)?.slice(0, 200);
  throw new where.ErrorClass(
    `${where.file}: ${field} is ${shown}: ${issue?.message ?? 'not valid'}; correct the file or download it again`,
    {
      details: { file: where.file, field, value: shown },
    },
  );
}
