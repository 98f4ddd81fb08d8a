import { expect, test } from 'vitest';
import { EventSplitter } from './event-splitter.ts';

test('lets whole events through, however the bytes are cut', () => {
  const bytes = Buffer.from('data: {"a":1}\n\ndata: é\n\ndata: [DONE]\n\nrest');
  for (let size = 1; size <= bytes.length; size++) {
    const splitter = new EventSplitter(100);
    const parts: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) parts.push(splitter.add(bytes.subarray(at, at + size)));
    for (const part of parts) expect(part.length === 0 || part.toString().endsWith('\n\n')).toBe(true);
    expect(Buffer.concat([...parts, splitter.end()])).toEqual(bytes);
  }
});

test('refuses an event without end', () => {
  const splitter = new EventSplitter(10);
  expect(() => splitter.add(Buffer.alloc(11, 'x'))).toThrow(RangeError);
});
