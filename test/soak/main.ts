import { parseArgs } from 'node:util';
import { soak } from './soak.ts';

/** Serves many requests of many tenants from a tiny pool; exit status 1 on the first wrong answer. */
const { values } = parseArgs({
  options: { requests: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
});
const [requests, seed] = [Number(values.requests), Number(values.seed)];
if (!Number.isInteger(requests) || requests < 1 || !Number.isInteger(seed)) {
  process.stderr.write(`--requests ${values.requests} --seed ${values.seed}: both must be whole numbers\n`);
  process.exit(2);
}
const startedMs = performance.now();
const report = await soak(requests, seed, (line) => process.stderr.write(`${line}\n`));
const seconds = Math.round((performance.now() - startedMs) / 1000);
process.stdout.write(`${JSON.stringify({ seed, seconds, ...report })}\n`);
