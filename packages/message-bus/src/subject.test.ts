import { expect, test } from 'vitest';
import { checkPattern, checkSubject, isUnder, SubjectTable } from './subject.ts';

test('subjects and patterns', () => {
  for (const good of ['a', 'skein.g-1.rank_0', 'x'.repeat(200)]) expect(checkSubject(good)).toBe(good);
  for (const bad of ['', '.', 'a.', '.a', 'a b', 'a\r\nPUB x 0', 'a.*', '>', 'é', 'x'.repeat(201)]) {
    expect(() => checkSubject(bad)).toThrow(expect.objectContaining({ code: 'ERR_SUBJECT' }));
  }
  expect(checkPattern('a.>')).toBe('a.>');
  expect(() => checkPattern('a.>.b')).toThrow(expect.objectContaining({ code: 'ERR_SUBJECT' }));
  expect([isUnder('a.b', 'a.b'), isUnder('a.b', 'a.b.c'), isUnder('a.b', 'a.bc')]).toEqual([true, true, false]);
});

test('a listener matches once, by subject and by any of its patterns', () => {
  const table = new SubjectTable<string>();
  expect(table.add('a.b', 'x')).toBe(true);
  expect(table.add('a.>', 'x')).toBe(true);
  expect(table.add('a.>', 'y')).toBe(false);
  expect([...table.match('a.b')]).toEqual(['x', 'y']);
  expect([...table.match('a')]).toEqual([]);
  expect([...table.match('a.c.d')]).toEqual(['x', 'y']);
  expect(table.delete('a.>', 'x')).toBe(false);
  expect(table.delete('a.>', 'y')).toBe(true);
  expect(table.delete('a.>', 'y')).toBe(false);
  expect([...table.match('a.c')]).toEqual([]);
});
