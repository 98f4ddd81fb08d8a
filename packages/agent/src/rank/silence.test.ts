import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Silence } from './silence.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('tells once, when nothing was said for the time agreed last', () => {
  const told: number[] = [];
  const silence = new Silence(60_000, (silentMs) => told.push(silentMs));
  vi.advanceTimersByTime(50_000);
  silence.broken(4000);
  vi.advanceTimersByTime(3500);
  silence.broken(4000);
  vi.advanceTimersByTime(3999);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(60_000);
  expect(told).toEqual([4000]);
});

test('says nothing once closed', () => {
  const told: number[] = [];
  const silence = new Silence(1000, (silentMs) => told.push(silentMs));
  silence.close();
  vi.advanceTimersByTime(10_000);
  expect(told).toEqual([]);
});
