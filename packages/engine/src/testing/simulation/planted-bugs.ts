import type { BlockHasher } from '../../block-hash.ts';
import { BlockPool, type KVCacheBlock } from '../../block-pool.ts';
import { KVCacheManager, type KVCacheOptions } from '../../kv-cache-manager.ts';
import { PrefixCache } from '../../prefix-cache.ts';
import { Request } from '../../request.ts';
import type { SchedulerCapacity } from '../../request-limits.ts';
import { type RequestUpdate, Scheduler } from '../../scheduler.ts';
import type { GeneratedToken, GenerateRequest } from '../../generate.ts';
import type { SchedulerOutput } from '../../scheduler-output.ts';

type SchedulerArguments = ConstructorParameters<typeof Scheduler>;

/** The real scheduler, over a cache whose hashes a test may choose, with its parts made where a planted bug can replace one. */
export class SimulatedScheduler extends Scheduler {
  readonly #hasher: BlockHasher;
  readonly #prefixCaching: boolean;

  constructor(hasher: BlockHasher, ...[config, observer]: SchedulerArguments) {
    super(config, observer);
    this.#hasher = hasher;
    this.#prefixCaching = config.enablePrefixCaching;
  }

  createRequest(input: GenerateRequest, arrival: number): Request {
    return new Request(input, arrival);
  }

  protected override createKVCache({ numBlocks, blockSize }: SchedulerCapacity): KVCacheManager {
    const prefixCache = this.#prefixCaching ? this.createPrefixCache() : null;
    const pool = this.createPool(numBlocks);
    const onEvent = this.kvCacheListener;
    return this.createManager({ numBlocks, blockSize, prefixCache, hasher: this.#hasher, pool, onEvent });
  }

  protected createManager(options: KVCacheOptions): KVCacheManager {
    return new KVCacheManager(options);
  }

  protected createPrefixCache(): PrefixCache {
    return new PrefixCache();
  }

  protected createPool(numBlocks: number): BlockPool {
    return new BlockPool(numBlocks);
  }
}

class SharedBlockFreedTwice extends SimulatedScheduler {
  protected override createPool(numBlocks: number): BlockPool {
    return new (class extends BlockPool {
      override release(block: KVCacheBlock): void {
        const isShared = block.refCount > 1;
        super.release(block);
        if (isShared) super.release(block);
      }
    })(numBlocks);
  }
}

class SlotOffByOneAtBlockEdge extends SimulatedScheduler {
  protected override createManager(options: KVCacheOptions): KVCacheManager {
    return new (class extends KVCacheManager {
      override blocksFor(numTokens: number): number {
        return super.blocksFor(numTokens - 1);
      }
    })(options);
  }
}

class BlockCachedOneTokenEarly extends SimulatedScheduler {
  protected override createManager(options: KVCacheOptions): KVCacheManager {
    return new (class extends KVCacheManager {
      override cacheFullBlocks(request: Request): void {
        const early = Object.create(request, {
          numComputedTokens: { value: request.numComputedTokens + 1 },
        }) as Request;
        super.cacheFullBlocks(early);
      }
    })(options);
  }
}

class VictimCountedTwice extends SimulatedScheduler {
  override createRequest(input: GenerateRequest, arrival: number): Request {
    return new (class extends Request {
      override rewind(): void {
        super.rewind();
        // Its samples under way still arrive, and are now planned a second time.
        this.numPendingTokens = 0;
      }
    })(input, arrival);
  }
}

class HashTakenAtItsWord extends SimulatedScheduler {
  protected override createPrefixCache(): PrefixCache {
    return new (class extends PrefixCache {
      protected override matches(): boolean {
        return true;
      }
    })();
  }
}

class WakeUpLostAfterPreemption extends SimulatedScheduler {
  override update(output: SchedulerOutput, rows: readonly GeneratedToken[]): RequestUpdate[] {
    const isLost = ({ status, numPreemptions }: Request): boolean => status === 'waiting' && numPreemptions > 0;
    const kept = output.rows.map(({ request }) => !isLost(request));
    return super.update(
      { ...output, rows: output.rows.filter((_, i) => kept[i]) },
      rows.filter((_, i) => kept[i]),
    );
  }
}

/** Bugs for the simulation to find: each is the real thing with one method gone wrong. */
export const plantedBugs = {
  'a shared block freed twice': SharedBlockFreedTwice,
  'a slot off by one at a block edge': SlotOffByOneAtBlockEdge,
  'a block cached one token early': BlockCachedOneTokenEarly,
  "a victim's tokens counted twice": VictimCountedTwice,
  'a hash hit taken without comparing tokens': HashTakenAtItsWord,
  'a lost wake-up after preemption': WakeUpLostAfterPreemption,
} as const satisfies Record<string, typeof SimulatedScheduler>;

export type PlantedBug = keyof typeof plantedBugs;
