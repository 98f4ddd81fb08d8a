import { newIdentity } from '@skein/protocol';
import { expect, test } from 'vitest';
import { GapDetector, SequenceNumbers } from './sequence.ts';

test('numbers run per subject and start again only for one that was forgotten', () => {
  const numbers = new SequenceNumbers();
  const take = (subject: string): number => {
    const seq = numbers.next(subject);
    numbers.used(subject, seq);
    return seq;
  };
  expect([take('a'), take('a'), take('b'), take('a')]).toEqual([1, 2, 1, 3]);
  for (let index = 0; index < 10_000; index++) take(`other.${index}`);
  expect(take('a')).toBe(1);
});

test('a gap is what is missing since the last one of the same sender and subject', () => {
  const gaps = new GapDetector();
  const [a, again] = [newIdentity('a'), newIdentity('a')];
  expect(gaps.missingBefore(a, 's', 7)).toBe(0);
  expect(gaps.missingBefore(a, 's', 8)).toBe(0);
  expect(gaps.missingBefore(a, 's', 11)).toBe(2);
  expect(gaps.missingBefore(a, 's', 11)).toBeNull();
  expect(gaps.missingBefore(a, 't', 3)).toBe(0);
  expect(gaps.missingBefore(again, 's', 100)).toBe(0);
  expect(gaps.missingBefore(a, 's', 1)).toBe(0);
  expect(gaps.missingBefore(a, 's', 2)).toBe(0);
});
