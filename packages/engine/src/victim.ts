import type { KVCacheManager } from './kv-cache-manager.ts';
import type { Request } from './request.ts';
import type { RequestOrder } from './request-queue.ts';

/** Computed tokens that preempting a request throws away: all but those in blocks that others hold too. An upper bound, since
 *  some of its own may still be cached when it comes back; but the pool is short when this is asked, so they are the next
 *  to be evicted. */
export function preemptionCost(request: Request, kv: KVCacheManager): number {
  return Math.max(0, request.numComputedTokens - kv.numSharedTokens(request.id));
}

/** The request that gives way to `needy`: of those after it in the policy's order, the one that loses the least work; of equal
 *  ones the last. Whoever loses little is also soon back, so the total of recomputed tokens stays small. One whose blocks are
 *  all shared gives nothing, so it comes last. */
export function chooseVictim(
  running: readonly Request[],
  needy: Request,
  of: { readonly order: RequestOrder; readonly kv: KVCacheManager },
): Request | undefined {
  let [best, bestCost] = [undefined as Request | undefined, Infinity];
  for (const request of running.toReversed()) {
    if (of.order(request, needy) <= 0) break;
    const numPrivateTokens = of.kv.blockTable(request.id).length * of.kv.blockSize - of.kv.numSharedTokens(request.id);
    const cost = numPrivateTokens > 0 ? preemptionCost(request, of.kv) : Number.MAX_SAFE_INTEGER;
    if (cost < bestCost) [best, bestCost] = [request, cost];
  }
  return best;
}
