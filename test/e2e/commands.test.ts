import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../support/cluster.ts';

function run(
  command: string,
  args: readonly string[],
): { readonly status: number | null; readonly stdout: string; readonly output: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8' });
  return { status, stdout, output: stdout + stderr };
}

test('npx --no-install skein --help lists the commands', () => {
  const { status, output } = run('npx', ['--no-install', 'skein', '--help']);
  expect(status).toBe(0);
  for (const command of ['up', 'serve', 'node', 'router', 'plan', 'make-checkpoint']) expect(output).toContain(command);
});

test('skein make-checkpoint writes a checkpoint', () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-checkpoint-'));
  try {
    expect(run('npx', ['--no-install', 'skein', 'make-checkpoint', 'smollm-135m', dir])).toMatchObject({ status: 0 });
    expect(readdirSync(dir)).toEqual(expect.arrayContaining(['config.json', 'tokenizer.json', 'model.safetensors']));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}, 60_000);

test('npm test runs the tests that a pattern picks', () => {
  const { status, output } = run('npm', ['test', '--', '--only', 'unit', 'packages/agent/src/lws-environment.test.ts']);
  expect(output).toMatch(/^\d+ passed, 0 failed/m);
  expect(status).toBe(0);
}, 120_000);

test('npm run bench -- --json prints one document in the agreed shape', () => {
  const { status, stdout, output } = run('npm', ['run', '--silent', 'bench', '--', '--json', '--only', 'step-plan']);
  expect(status, output).toBe(0);
  const document = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    commit: string;
    hardware: string;
    results: { name: string; value: number }[];
  };
  expect(document.results.length).toBeGreaterThan(0);
  expect(document.results[0]).toMatchObject({
    name: expect.any(String),
    value: expect.any(Number),
    unit: expect.any(String),
  });
}, 120_000);

test('an option with a slip is refused with the right one', () => {
  const { status, output } = run('npx', ['--no-install', 'skein', 'serve', 'x', '--max-model-length', '5']);
  expect(status).not.toBe(0);
  expect(output).toContain('--max-model-len');
});
