export { createRouter, type Router, type RouterOptions } from './router.ts';
export type { UpstreamLimits } from './upstream.ts';
