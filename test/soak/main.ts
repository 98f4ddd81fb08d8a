import { parseArgs } from 'node:util';
import { soak } from './soak.ts';

/** Serves many requests of many tenants from a tiny pool; exit status 1 on the first wrong answer. */
const { values } = parseArgs({
  options: { requests: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
});
const [requests, seed] = [Number(values.requests), Number(values.seed)];
if (!Number.isInteger(requests) || requests < 1 || !Number.isInteger(seed)) {
  console.error(`--requests ${values.requests} --seed ${values.seed}: both must be whole numbers`);
  process.exit(2);
}
const startedMs = performance.now();
const report = await soak(requests, seed, (line) => console.error(line));
console.log(JSON.stringify({ seed, seconds: Math.round((performance.now() - startedMs) / 1000), ...report }));
