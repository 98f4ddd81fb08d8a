import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VariableKey } from '@skein/telemetry';
import { afterAll, expect, test } from 'vitest';
import { clusterParts } from '../cluster-parts.ts';
import { configText, shownConfig } from '../config-command.ts';
import { asArguments, flagOf, type FlagTexts, normaliseArgv } from './argv.ts';
import { closest } from './closest.ts';
import type { CommandName } from './flag.ts';
import { flagKeys, flagName } from './flag-table.ts';
import { flagsPage } from './flags-page.ts';
import { type Resolved, resolve } from './resolve.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-flags-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(content: string): string {
  const name = join(folder, 'skein.yaml');
  writeFileSync(name, content);
  return name;
}

interface From {
  readonly argv?: FlagTexts;
  readonly env?: Partial<Record<VariableKey, string>>;
  readonly config?: string;
}

function resolved(command: CommandName, { argv = {}, env = {}, config }: From = {}): Resolved {
  return resolve(command, {
    argv,
    variable: (key) => env[key] ?? null,
    configFile: config === undefined ? null : file(config),
  });
}

test('docs/flags.md is what the table says (vitest -u writes it)', async () => {
  await expect(flagsPage()).toMatchFileSnapshot('../../../../docs/flags.md');
});

test('names and aliases are all different', () => {
  const names = flagKeys.flatMap((key) => [`--${flagName(key)}`, ...flagOf(key).aliases, ...flagOf(key).offAliases]);
  expect(new Set(names).size).toBe(names.length);
});

test('argv stands above environment, that above the config file, that above the default', () => {
  const config = 'log-level: warn\nport: 1\nmax_num_seqs: 5\nserved-model-name: [a, b]\nenable-prefix-caching: false\n';
  const { settings, origins } = resolved('serve', {
    argv: { port: ['2'] },
    env: { logLevel: 'error', apiKey: 'k1,k2' },
    config,
  });
  expect(settings).toMatchObject({
    port: 2,
    logLevel: 'error',
    apiKey: ['k1', 'k2'],
    maxNumSeqs: 5,
    servedModelName: ['a', 'b'],
    enablePrefixCaching: false,
    blockSize: 16,
  });
  expect(origins.port).toMatchObject({ source: 'argv', place: '--port' });
  expect(origins.logLevel).toMatchObject({ source: 'environment', place: 'SKEIN_LOG_LEVEL' });
  expect(origins.maxNumSeqs).toMatchObject({ source: 'config file', place: join(folder, 'skein.yaml') });
  expect(origins.blockSize.source).toBe('default');
});

test('sizes are read as vLLM reads them', () => {
  const sizes = { '8k': 8000, '8K': 8192, '1.5k': 1500, '2G': 2 ** 31, '7': 7 };
  for (const [text, value] of Object.entries(sizes))
    expect(resolved('serve', { argv: { kvCacheMemoryBytes: [text] } }).settings.kvCacheMemoryBytes).toBe(value);
});

test.each<[string, CommandName, From, string, string]>([
  [
    'a word',
    'serve',
    { argv: { port: ['banana'] } },
    'ERR_OPTION',
    '--port is "banana"; it must be an integer from 0 to 65535',
  ],
  [
    'a fraction',
    'serve',
    { argv: { blockSize: ['1.5'] } },
    'ERR_OPTION',
    '--block-size is "1.5"; it must be an integer',
  ],
  ['nothing', 'serve', { argv: { blockSize: [''] } }, 'ERR_OPTION', '--block-size is ""'],
  [
    'a third of a layer',
    'serve',
    { argv: { ppLayerPartition: ['3.3,2.7'] } },
    'ERR_OPTION',
    '--pp-layer-partition is "3.3,2.7"; it must be counts above 0 in steps of a half, such as 3,5 or 10.5,5.5',
  ],
  [
    'a type that is not served',
    'serve',
    { argv: { kvCacheDtype: ['fp8_e5m2'] } },
    'ERR_OPTION',
    '--kv-cache-dtype is "fp8_e5m2"; choose auto, float32, float16, bfloat16, fp8 or int8',
  ],
  [
    'quantized weights',
    'serve',
    { argv: { quantization: ['bitsandbytes'] } },
    'ERR_OPTION',
    '--quantization is "bitsandbytes"; choose none, int8, int4, int4-g128, fp8, compressed-tensors, gptq or awq',
  ],
  [
    'weights of another format',
    'serve',
    { config: 'load-format: gguf' },
    'ERR_CONFIG_FILE',
    'load-format is "gguf"; choose auto or safetensors; weights are read from safetensors files alone',
  ],
  [
    'a tokenizer of another kind',
    'serve',
    { argv: { tokenizerMode: ['slow'] } },
    'ERR_OPTION',
    '--tokenizer-mode is "slow"; choose auto or hf; tokenizers are read from tokenizer.json alone',
  ],
  [
    'the logprobs of all tokens',
    'serve',
    { argv: { maxLogprobs: ['-1'] } },
    'ERR_OPTION',
    '--max-logprobs is "-1"; it must be an integer of at least 0, such as 4096 or 4K; vLLM\'s -1, those of the whole vocabulary, cannot be had',
  ],
  [
    'more than all memory',
    'node',
    { argv: { cpuMemoryUtilization: ['1.2'] } },
    'ERR_OPTION',
    '--cpu-memory-utilization is "1.2"; it must be a number above 0 and up to 1',
  ],
  ['NaN', 'node', { argv: { cpuMemoryUtilization: ['NaN'] } }, 'ERR_OPTION', 'must be a number'],
  [
    'a variable',
    'router',
    { env: { logFormat: 'xml' } },
    'ERR_VARIABLE',
    'SKEIN_LOG_FORMAT is "xml"; choose json or text',
  ],
  [
    'a file with a slip',
    'serve',
    { config: 'max-model-length: 5' },
    'ERR_CONFIG_FILE',
    'skein.yaml: max-model-length is no flag; did you mean max-model-len?',
  ],
  [
    'a file with a wrong value',
    'serve',
    { config: 'max-num-seqs: lots' },
    'ERR_CONFIG_FILE',
    'skein.yaml: max-num-seqs is "lots"; it must be an integer',
  ],
  [
    'a file with a tree',
    'serve',
    { config: 'port: {a: 1}' },
    'ERR_CONFIG_FILE',
    'port must be one value or a list of values',
  ],
  ['a list for one value', 'serve', { config: 'port: [1, 2]' }, 'ERR_CONFIG_FILE', 'port is "1 2"; it takes one value'],
  ['a file that is a list', 'serve', { config: '- 1' }, 'ERR_CONFIG_FILE', 'must hold flag names and values'],
  ['no YAML', 'serve', { config: 'a: [1' }, 'ERR_CONFIG_FILE', 'is no YAML'],
  ['aliases without end', 'serve', { config: 'a: &x [1]\nb: [*x, *x]' }, 'ERR_CONFIG_FILE', 'cannot be read'],
])('refuses %s', (_, command, from, code, message) => {
  expect(() => resolved(command, from)).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(message) }),
  );
});

test.each([
  ['quantization', 'none', 'none'],
  ['quantization', 'None', 'none'],
  ['quantization', 'gptq_marlin', 'gptq'],
  ['loadFormat', 'auto', 'auto'],
  ['loadFormat', 'safetensors', 'safetensors'],
  ['tokenizerMode', 'auto', 'auto'],
  ['tokenizerMode', 'hf', 'hf'],
] as const)('%s takes %s, which is what is done', (key, given, value) => {
  expect(resolved('serve', { argv: { [key]: [given] } }).settings[key]).toBe(value);
});

test('no secret is shown in an error', () => {
  expect(() => resolved('serve', { env: { apiKey: 'secret,' } })).toThrow('SKEIN_API_KEY is not usable');
});

test('a config file may hold flags of other commands', () => {
  const { settings } = resolved('router', { config: 'max-num-seqs: nonsense\nport: 7' });
  expect(settings).toMatchObject({ port: 7, maxNumSeqs: 128 });
});

test('keys may be given apart or with commas, wherever they come from', () => {
  expect(resolved('router', { argv: { apiKey: ['a,b', 'c'] } }).settings.apiKey).toEqual(['a', 'b', 'c']);
  expect(resolved('router', { config: 'api-key: [a, b]' }).settings.apiKey).toEqual(['a', 'b']);
  expect(resolved('serve', { argv: { servedModelName: ['a,b'] } }).settings.servedModelName).toEqual(['a,b']);
});

test.each([
  ['enableChunkedPrefill', '--enable-chunked-prefill', 'a prompt that is longer than a step has no other way'],
  ['enablePromptTokensDetails', '--enable-prompt-tokens-details', 'every usage has prompt_tokens_details'],
  ['enableRequestIdHeaders', '--enable-request-id-headers', 'every answer has X-Request-Id'],
] as const)('%s cannot be turned off, and says why', (key, name, why) => {
  expect(resolved('serve').settings[key]).toBe(true);
  expect(resolved('serve', { argv: { [key]: ['true'] } }).settings[key]).toBe(true);
  expect(() => resolved('serve', { argv: { [key]: ['false'] } })).toThrow(
    `${name} is "false"; it cannot be turned off; ${why}`,
  );
});

test('aliases and underscores become names; values stay', () => {
  const argv = ['-tp', '1', '--pp=2', '--max_model_len', '5', '--disable-log-requests', '--api-key=a_b', '--', '-tp'];
  expect(normaliseArgv(argv)).toEqual([
    '--tensor-parallel-size',
    '1',
    '--pipeline-parallel-size=2',
    '--max-model-len',
    '5',
    '--no-enable-log-requests',
    '--api-key=a_b',
    '--',
    '-tp',
  ]);
});

test('arguments say what was set, so that another command reads the same', () => {
  const texts: FlagTexts = {
    servedModelName: ['a', '-b'],
    enablePrefixCaching: ['false'],
    apiKeyGuardsMetrics: ['true'],
  };
  expect(asArguments(texts)).toEqual([
    '--served-model-name=a',
    '--served-model-name=-b',
    '--no-enable-prefix-caching',
    '--api-key-guards-metrics',
  ]);
});

test('up passes each flag to the processes that the table names, secrets by variable', () => {
  const [router, first, ...rest] = clusterParts(
    resolved('up', {
      argv: {
        maxModelLen: ['1k'],
        port: ['9000'],
        apiKey: ['s1', 's2'],
        pipelineParallelSize: ['3'],
        groups: ['2'],
      },
      config: 'log-level: debug\nmodel: some/dir\n',
    }),
  );
  expect(router.args).toEqual(['router', '--port=9000', '--log-level=debug']);
  expect(first?.args).toEqual(
    expect.arrayContaining([
      'node',
      '--model=some/dir',
      '--max-model-len=1k',
      '--port=0',
      '--log-level=debug',
      '--cpu-memory-utilization=0.25',
    ]),
  );
  expect(first?.args).not.toContain('--port=9000');
  expect(rest).toHaveLength(5);
  expect(rest.at(-1)?.env).toMatchObject({
    LWS_LEADER_ADDRESS: 'skein-1.skein.localhost',
    LWS_GROUP_SIZE: '3',
    LWS_WORKER_INDEX: '2',
  });
  for (const { args, env } of [router, ...rest]) {
    expect(env).toMatchObject({ SKEIN_API_KEY: 's1,s2', SKEIN_CONFIG: '' });
    expect(args.join(' ')).not.toContain('s1');
  }
});

test('skein config shows values and where they came from, and no secret', () => {
  const up = resolved('up', { argv: { apiKey: ['hush'] }, env: { logLevel: 'debug' } });
  const shown = shownConfig(up);
  expect(shown.settings).toContainEqual({
    flag: 'log-level',
    value: 'debug',
    source: 'environment',
    place: 'SKEIN_LOG_LEVEL',
  });
  expect(shown.settings).toContainEqual({ flag: 'block-size', value: 16, source: 'default', place: '' });
  expect(shown.processes.map(({ name }) => name)).toEqual(['router', 'agent 0-0', 'agent 0-1']);
  expect(JSON.stringify(shown) + configText(shown)).not.toContain('hush');
  expect(shownConfig(resolved('serve')).processes).toEqual([]);
});

test('the closest name is found, and nothing far away', () => {
  const names = flagKeys.map(flagName);
  expect(closest('max-model-lenght', names)).toBe('max-model-len');
  expect(closest('max-nun-seqs', names)).toBe('max-num-seqs');
  expect(closest('tensor-parallel', names)).toBe('tensor-parallel-size');
  expect(closest('frobnicate', names)).toBeNull();
});
