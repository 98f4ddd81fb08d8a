import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ROOT } from '../support/cluster.ts';

const BIN = 'packages/cli/bin/skein';
const SOURCE = 'packages/cli/src/main.ts';
const BUNDLE = '.skein/bundle/main.js';
let checkout = '';

/** A checkout whose Node says what it was given. */
beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'skein-checkout-'));
  const files = [SOURCE, BUNDLE, '.skein/bundle/.begun', 'native/lib/index.ts', 'node_modules/.keep', 'pnpm-lock.yaml'];
  for (const name of files) write(name, '');
  write('.toolchain/node_modules/.bin/node', '#!/bin/sh\necho "$@"\n');
  chmodSync(join(checkout, '.toolchain/node_modules/.bin/node'), 0o755);
  mkdirSync(join(checkout, dirname(BIN)), { recursive: true });
  copyFileSync(join(ROOT, BIN), join(checkout, BIN));
  for (const name of [...files, ...files.map(dirname)]) age(name, 10);
  age('.skein/bundle/.begun', 5);
});
afterEach(() => rmSync(checkout, { recursive: true, force: true }));

function write(name: string, text: string): void {
  mkdirSync(join(checkout, dirname(name)), { recursive: true });
  writeFileSync(join(checkout, name), text);
}

function age(name: string, seconds: number): void {
  const at = Date.now() / 1000 - seconds;
  utimesSync(join(checkout, name), at, at);
}

function run(): string {
  return spawnSync(join(checkout, BIN), ['--version'], { encoding: 'utf8' }).stdout;
}

test('the command runs the bundle', () => {
  expect(run()).toBe(`${join(checkout, BUNDLE)} --version\n`);
});

test.each<[string, () => void]>([
  ['a source was written since', () => write(SOURCE, '')],
  ['a source was taken away since', () => rmSync(join(checkout, 'native/lib/index.ts'))],
  ['dependencies changed since', () => write('pnpm-lock.yaml', '')],
  ['it was never finished', () => rmSync(join(checkout, '.skein/bundle'), { recursive: true })],
])('and the sources when %s', (_, change) => {
  change();
  expect(run()).toBe(`${join(checkout, SOURCE)} --version\n`);
});
