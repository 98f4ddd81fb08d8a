export { KVCacheManager } from '../kv-cache-manager.ts';
export { Random } from './random.ts';
export { greedy } from './toy-request.ts';
