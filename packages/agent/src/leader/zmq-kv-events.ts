import type { KVCacheEvent } from '@skein/engine';
import { Packr } from 'msgpackr';
import type { Publisher, Router } from 'zeromq';
import { ConfigError } from '../errors.ts';
import type { KVEventBatch } from './kv-event-feed.ts';
import { extraKeysOf } from './kv-event-messages.ts';
import type { KVEventsConfig } from './kv-events-config.ts';

/** vLLM's word for the pool that steps compute in, whatever the device. */
const MEDIUM = 'GPU';
const packr = new Packr({ useRecords: false, mapsAsObjects: true, variableMapSize: true });
const END_OF_REPLAY = sequenceBytes(-1n);
const NOTHING = Buffer.alloc(0);

/** KV events as vLLM publishes them: a PUB socket with frames [topic, sequence as 8 bytes big-endian, msgpack payload], and a
 *  ROUTER that answers a start sequence with every batch kept since, then sequence -1. Sequences count from 0. */
export class ZmqKVEvents implements AsyncDisposable {
  readonly #publisher: Publisher;
  readonly #replay: Router | null;
  readonly #topic: string;
  readonly #bufferSteps: number;
  readonly #dataParallelRank: number | null;
  /** The latest batches; the last one has sequence `#next - 1`. */
  readonly #kept: Uint8Array[] = [];
  #next = 0n;

  private constructor(publisher: Publisher, replay: Router | null, config: KVEventsConfig, replica: number | null) {
    this.#publisher = publisher;
    this.#replay = replay;
    this.#topic = config.topic;
    this.#dataParallelRank = replica;
    this.#bufferSteps = replay ? config.bufferSteps : 0;
  }

  /** @param replica of several, which publish side by side; null where there is one.
   *  @throws ConfigError ERR_KV_EVENTS_CONFIG when an endpoint cannot be bound. */
  static async bind(of: KVEventsConfig, replica: number | null = null): Promise<ZmqKVEvents> {
    const config = replica === null ? of : endpointsOf(replica, of);
    // Loaded on demand: the library is native, and few want it.
    const zmq = await import('zeromq');
    const publisher = new zmq.Publisher({ sendHighWaterMark: config.hwm, linger: 0 });
    const replay = config.replayEndpoint === null ? null : new zmq.Router({ linger: 0 });
    try {
      await publisher.bind(config.endpoint);
      if (replay && config.replayEndpoint) await replay.bind(config.replayEndpoint);
    } catch (cause) {
      publisher.close();
      replay?.close();
      const endpoints = [config.endpoint, config.replayEndpoint ?? []].flat().join(' or ');
      const message = `--kv-events-config: ${endpoints} cannot be bound: ${(cause as Error).message}`;
      throw new ConfigError('ERR_KV_EVENTS_CONFIG', message, { cause });
    }
    return new ZmqKVEvents(publisher, replay, config, replica);
  }

  get endpoint(): string | null {
    return this.#publisher.lastEndpoint;
  }

  get replayEndpoint(): string | null {
    return this.#replay?.lastEndpoint ?? null;
  }

  /** Publishes until the feed ends. */
  async run(batches: AsyncIterable<KVEventBatch>): Promise<void> {
    const replaying = this.#answerReplays();
    for await (const { ts, events } of batches) {
      const payload = packr.pack([ts, events.map(vllmEvent), this.#dataParallelRank]);
      const sequence = this.#next++;
      if (this.#bufferSteps > 0) {
        this.#kept.push(payload);
        if (this.#kept.length > this.#bufferSteps) this.#kept.shift();
      }
      await this.#publisher.send([this.#topic, sequenceBytes(sequence), payload]);
    }
    this.#replay?.close();
    await replaying;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#publisher.close();
    this.#replay?.close();
    await Promise.resolve();
  }

  async #answerReplays(): Promise<void> {
    if (!this.#replay) return;
    for await (const frames of this.#replay) {
      const [client, asked] = [frames[0], frames.at(-1)];
      // Not in the form [client, (empty,) 8 bytes]: nothing to answer.
      if (!client || asked?.length !== 8 || frames.length > 3) continue;
      const start = asked.readBigInt64BE();
      const first = this.#next - BigInt(this.#kept.length);
      for (const [i, payload] of [...this.#kept].entries()) {
        const sequence = first + BigInt(i);
        if (sequence >= start) await this.#replay.send([client, NOTHING, sequenceBytes(sequence), payload]);
      }
      await this.#replay.send([client, NOTHING, END_OF_REPLAY, NOTHING]);
    }
  }
}

/** Where vLLM has the listeners of a data-parallel rank connect: that many ports, or names, further on. */
function endpointsOf(replica: number, config: KVEventsConfig): KVEventsConfig {
  const shifted = (endpoint: string): string => {
    const [, start, port] = /^(tcp:.*:)(\d+)$/.exec(endpoint) ?? [];
    if (start === undefined) return endpoint.startsWith('tcp:') ? endpoint : `${endpoint}_dp${replica}`;
    return `${start}${port === '0' ? 0 : Number(port) + replica}`;
  };
  const { endpoint, replayEndpoint } = config;
  return {
    ...config,
    endpoint: shifted(endpoint),
    replayEndpoint: replayEndpoint === null ? null : shifted(replayEndpoint),
  };
}

/** In the current form of vLLM, a map whose key `type` is the event's name. */
function vllmEvent(event: KVCacheEvent): Readonly<Record<string, unknown>> {
  if (event.type === 'AllBlocksCleared') return { type: event.type };
  if (event.type === 'BlockRemoved')
    return { type: event.type, block_hashes: event.blockHashes, medium: MEDIUM, group_idx: null };
  const { type, blockHashes, parentBlockHash, tokenIds, blockSize, owner } = event;
  const keys = parentBlockHash === null ? extraKeysOf(owner) : null;
  return {
    type,
    block_hashes: blockHashes,
    parent_block_hash: parentBlockHash,
    token_ids: tokenIds,
    block_size: blockSize,
    lora_id: null,
    medium: MEDIUM,
    lora_name: null,
    extra_keys: keys && blockHashes.map((_, i) => (i === 0 ? keys : null)),
    group_idx: null,
  };
}

function sequenceBytes(sequence: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(sequence);
  return bytes;
}
