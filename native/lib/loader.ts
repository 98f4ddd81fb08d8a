import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import { NativeError } from './errors.ts';
import type { NativeAddon } from './native.ts';

const EXPORTS = ['createDevice', 'createProgram', 'createTransport', 'measureCeilings'] as const;
const BUILT = fileURLToPath(new URL('../build/skein.node', import.meta.url));

/** Loads the addon from `path`, or from where scripts/build-native puts it. The same path gives the same addon.
 *  @throws NativeError ERR_UNAVAILABLE, with the remedy, when it is missing, does not load, or is of another version. */
export function loadNative(path: string = BUILT): NativeAddon {
  let addon: unknown;
  try {
    addon = createRequire(import.meta.url)(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw unavailable(`The native addon '${path}' could not be loaded: ${why}.`, cause);
  }
  const missing = EXPORTS.filter((name) => typeof (addon as Partial<NativeAddon>)[name] !== 'function');
  if (missing.length > 0) throw unavailable(`The native addon '${path}' has no ${missing.join(', ')}.`, undefined);
  return addon as NativeAddon;
}

function unavailable(what: string, cause: unknown): NativeError {
  return new NativeError('ERR_UNAVAILABLE', `${what} Run 'pnpm install' and then scripts/build-native.`, { cause });
}
