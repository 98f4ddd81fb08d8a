import { ModelConfigError } from '../errors.ts';
import type { GgufMetadataValue } from './read-value.ts';

/** Values of a model's architecture, which are called `<architecture>.<key>`. A value of another type than asked for gives a
 *  ModelConfigError naming file, key and value. */
export class GgufValues {
  readonly file: string;
  readonly architecture: string;
  readonly #metadata: ReadonlyMap<string, GgufMetadataValue>;

  constructor(file: string, architecture: string, metadata: ReadonlyMap<string, GgufMetadataValue>) {
    this.file = file;
    this.architecture = architecture;
    this.#metadata = metadata;
  }

  /** Undefined when the file has none. A list with one number for each layer gives that number when they are all the same. */
  number(key: string): number | undefined {
    const value = this.#metadata.get(`${this.architecture}.${key}`);
    const one = typeof value === 'object' && value.every((v) => v === value[0]) ? value[0] : value;
    if (one === undefined || typeof one === 'number') return one;
    throw this.refused(key, typeof one === 'object' ? 'layers that differ are not served' : 'a number is needed');
  }

  needed(key: string): number {
    return this.number(key) ?? this.#missing(key);
  }

  bool(key: string): boolean | undefined {
    const value = this.#metadata.get(`${this.architecture}.${key}`);
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.refused(key, 'true or false is needed');
  }

  text(key: string): string | undefined {
    const value = this.#metadata.get(`${this.architecture}.${key}`);
    if (value === undefined || typeof value === 'string') return value;
    throw this.refused(key, 'a text is needed');
  }

  refused(key: string, why: string): ModelConfigError {
    const name = `${this.architecture}.${key}`;
    const value = this.#metadata.get(name);
    const shown = JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v))?.slice(0, 200);
    return new ModelConfigError(`${this.file}: ${name} is ${shown}: ${why}`, {
      details: { file: this.file, key: name, value: shown },
    });
  }

  #missing(key: string): never {
    throw new ModelConfigError(
      `${this.file}: lacks ${this.architecture}.${key}; convert the model again with a recent llama.cpp`,
      { details: { file: this.file, key } },
    );
  }
}
