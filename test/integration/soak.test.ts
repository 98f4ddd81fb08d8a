import { expect, it } from 'vitest';
import { soak } from '../soak/soak.ts';

it('a thousand requests of eight tenants in a tiny pool are answered as without a cache', async () => {
  const report = await soak(1000, 1, () => {});
  expect(report).toMatchObject({ requests: 1000 });
  for (const name of ['aborted', 'preempted', 'evictedBlocks', 'cachedTokens'] as const)
    expect(report[name], name).toBeGreaterThan(5);
  // An answer out of another tenant's blocks would show.
  expect(report.canaryShare).toBeGreaterThan(0.95);
});
