import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { skeinMetrics, vllmMetrics } from './metric-names.ts';

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

const dashboard = JSON.parse(readFileSync(new URL('../../../deploy/grafana/skein.json', import.meta.url), 'utf8')) as {
  panels: Panel[];
};
const definitions = [...Object.values(vllmMetrics), ...Object.values(skeinMetrics)];

test('each metric of the dashboard is exported, with the labels that it is read by', () => {
  const exprs = dashboard.panels.flatMap(({ targets }) => targets ?? []).map(({ expr }) => expr);
  expect(exprs.length).toBeGreaterThan(20);
  for (const expr of exprs) {
    const names = expr.match(/(?:vllm:|skein_)\w+/g) ?? [];
    expect(names, expr).not.toEqual([]);
    for (const name of names) {
      const definition = definitions.find((each) =>
        each.type === 'histogram' ? `${each.name}_bucket` === name : each.name === name,
      );
      expect(definition, name).toBeDefined();
      if (expr.includes(`${name}{model_name`)) expect(definition?.labels).toContain('model_name');
      const [, by = ''] = /by \(([^)]*)\)/.exec(expr) ?? [];
      // Prometheus adds these.
      const labels = [...(definition?.labels ?? []), 'le', 'instance'];
      for (const label of by.split(', ').filter(Boolean)) expect(labels, expr).toContain(label);
    }
  }
});

test('panels have names and ids of their own, and counters are read as rates', () => {
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  const counters = definitions.filter(({ type }) => type === 'counter').map(({ name }) => name);
  for (const { expr } of dashboard.panels.flatMap(({ targets }) => targets ?? []))
    for (const counter of counters.filter((name) => expr.includes(`${name}{`) || expr.includes(`${name}[`)))
      expect(expr).toContain(`rate(${counter}`);
});
