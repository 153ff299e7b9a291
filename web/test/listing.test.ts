/** What the virtual list is shown, step by step: never a change at both ends at once. */
import { expect, test } from 'vitest';
import { type Listing, listingOf } from '../src/app/conversation/listing';
import type { Row } from '../src/app/conversation/rows';

const rows = (from: number, to: number): Row[] =>
  Array.from({ length: to - from + 1 }, (_, index) => {
    const seq = from + index;
    return { type: 'message', key: `s:${seq}`, entry: { seq, kind: 'message' }, isFirst: true, isLast: true };
  });
const ends = ({ keys, isShifted, isHalf }: Listing) => [keys[0], keys.at(-1), keys.length, isShifted, isHalf];
const show = (before: Listing | undefined, from: number, to: number): Listing =>
  listingOf(before, rows(from, to), () => true);

const held = show(undefined, 10, 20);

test('what comes in front shifts the list; what comes behind does not', () => {
  expect(ends(show(held, 5, 20))).toEqual(['s:5', 's:20', 16, true, false]);
  expect(ends(show(held, 10, 25))).toEqual(['s:10', 's:25', 16, false, false]);
  // A window that fits the screen has nothing to keep in its place.
  expect(listingOf(held, rows(5, 20), () => false).isShifted).toBe(false);
});

test.each([
  [
    'older entries come while the newest are let go',
    5,
    15,
    ['s:5', 's:20', 16, true, true],
    ['s:5', 's:15', 11, false, false],
  ],
  [
    'older entries come while a new one does',
    5,
    21,
    ['s:5', 's:20', 16, true, true],
    ['s:5', 's:21', 17, false, false],
  ],
  [
    'newer entries come while the oldest are let go',
    15,
    25,
    ['s:15', 's:20', 6, true, true],
    ['s:15', 's:25', 11, false, false],
  ],
])('%s: first the front, then the end', (_, from, to, first, second) => {
  const half = show(held, from, to);
  expect(ends(half)).toEqual(first);
  expect(half.keys.every(key => half.byKey.has(key))).toBe(true);
  expect(ends(show(half, from, to))).toEqual(second);
});

test('the same rows are the same list; another window is no shift', () => {
  expect(show(held, 10, 20).keys).toBe(held.keys);
  expect(ends(show(held, 100, 110))).toEqual(['s:100', 's:110', 11, false, false]);
});
