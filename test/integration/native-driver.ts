import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { resolveDtype } from '@skein/models';
import type { KVCacheDtype, NativeAddon, ProgramMemory } from '@skein/native';
import { expectIdentical } from './comparison.ts';
import { type Chunking, chunksOf, Driver, type Generation, randomChunks, whole } from './driver.ts';
import { once, type ReferenceModel, stageSpecs, type StageSpecsOptions } from './fixture.ts';
import { openNative } from '../support/pipeline.ts';

const ADDON = fileURLToPath(new URL('../../native/build/skein.node', import.meta.url));

/** Without a build (scripts/build-native makes one) there is nothing to run. */
export const isBuilt: boolean = existsSync(ADDON);
const addon: NativeAddon | null = isBuilt ? createRequire(import.meta.url)(ADDON) : null;

const chunkings: readonly Chunking[] = [chunksOf(1), chunksOf(7), chunksOf(16), randomChunks(7)];

export interface NativeOptions extends Omit<StageSpecsOptions, 'dtype'> {
  readonly threads?: number;
  /** Of the cache; that of the model where it is left out. */
  readonly dtype?: KVCacheDtype;
}

export async function withDriver<T>(
  fixture: ReferenceModel,
  { threads = 1, ...options }: NativeOptions,
  use: (driver: Driver) => Promise<T>,
): Promise<T> {
  if (addon === null) throw new Error('the addon is not built');
  const dtype = options.dtype ?? resolveDtype('auto', fixture.model.config, fixture.tensors);
  await using pipeline = await openNative(addon, stageSpecs(fixture, { ...options, dtype }), threads);
  return await use(new Driver(pipeline, fixture.model.config.vocabSize));
}

/** What a program of the whole model takes. */
export function memoryOf(fixture: ReferenceModel, dtype: KVCacheDtype): ProgramMemory {
  const [spec] = stageSpecs(fixture, { dtype });
  if (addon === null || spec === undefined) throw new Error('the addon is not built');
  const device = addon.createDevice({ backend: 'cpu', threads: 1 });
  const program = addon.createProgram(device, spec);
  const { memory } = program;
  program.close();
  device.close();
  return memory;
}

/** Every prompt by itself: the way that all others are held against. */
export async function alone(driver: Driver, fixture: ReferenceModel, chunking: Chunking): Promise<Generation[]> {
  const found: Generation[] = [];
  for (const wanted of fixture.cases) found.push(...(await driver.generate([wanted], chunking)));
  return found;
}

const references = new WeakMap<ReferenceModel, Map<string, Promise<readonly Generation[]>>>();

/** What one rank gives for every prompt by itself; computed once, however many tests hold others against it. */
export function ofOneRank(
  fixture: ReferenceModel,
  { dtype, quantization }: NativeOptions = {},
): Promise<readonly Generation[]> {
  const known = references.get(fixture) ?? new Map<string, Promise<readonly Generation[]>>();
  references.set(fixture, known);
  const key = `${dtype} ${quantization}`;
  const single = { ...(dtype && { dtype }), ...(quantization && { quantization }) };
  return once(known, key, () => withDriver(fixture, single, (driver) => alone(driver, fixture, whole)));
}

/** The same bits alone, in chunks, by feedback, preempted and among 31 others. */
export async function expectSameBits(fixture: ReferenceModel, options: NativeOptions): Promise<void> {
  const wanted = await ofOneRank(fixture, options);
  await withDriver(fixture, { ...options, threads: 2 }, async (driver) => {
    expectIdentical(await alone(driver, fixture, whole), wanted);
    for (const chunking of chunkings) {
      expectIdentical(await alone(driver, fixture, chunking), wanted);
      expectIdentical(await driver.generate(fixture.cases, chunking, { feedback: true }), wanted);
    }
    const crowd = Array.from({ length: 32 }, (_, i) => i % wanted.length);
    const found = await driver.generate(
      crowd.flatMap((i) => fixture.cases[i] ?? []),
      randomChunks(32),
      { preempted: true },
    );
    expectIdentical(
      found,
      crowd.flatMap((i) => wanted[i] ?? []),
    );
  });
}
