import { z } from 'zod';
import { ConfigError } from '../errors.ts';

/** vLLM's `--kv-events-config`: KV events for listeners that are not on our bus. */
const schema = z.strictObject({
  enable_kv_cache_events: z.boolean().default(true),
  /** `null`: nobody. */
  publisher: z.enum(['zmq', 'null']).nullable().default('zmq'),
  /** Where listeners connect; `*` stands for all interfaces. */
  endpoint: z.string().min(1).max(500).default('tcp://*:5557'),
  /** Where they ask for batches they missed. */
  replay_endpoint: z.string().min(1).max(500).nullable().default(null),
  /** Batches kept for replay. */
  buffer_steps: z.int().min(0).max(1_000_000).default(10_000),
  /** Batches that may wait for one listener. */
  hwm: z.int().min(1).max(10_000_000).default(100_000),
  /** Taken and ignored: the feed bounds what waits by blocks. */
  max_queue_size: z.int().min(1).default(100_000),
  topic: z.string().max(500).default(''),
});

export interface KVEventsConfig {
  readonly endpoint: string;
  readonly replayEndpoint: string | null;
  readonly bufferSteps: number;
  readonly hwm: number;
  readonly topic: string;
}

/** @returns null when it turns events off. @throws ConfigError ERR_KV_EVENTS_CONFIG naming the key. */
export function parseKVEventsConfig(text: string): KVEventsConfig | null {
  const refuse = (what: string): ConfigError =>
    new ConfigError('ERR_KV_EVENTS_CONFIG', `--kv-events-config is ${text.slice(0, 200)}; ${what}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw refuse('it must be a JSON object, such as {"endpoint": "tcp://*:5557"}');
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw refuse(`${issue?.path.join('.') || 'the whole'}: ${issue?.message ?? 'invalid'}`);
  }
  const c = parsed.data;
  if (!c.enable_kv_cache_events || c.publisher !== 'zmq') return null;
  const { endpoint, replay_endpoint: replayEndpoint, buffer_steps: bufferSteps, hwm, topic } = c;
  return { endpoint, replayEndpoint, bufferSteps, hwm, topic };
}
