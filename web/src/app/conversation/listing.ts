/**
 * The rows as the virtual list takes them: it keeps the reader's place when rows come or go in front of it, or behind,
 * but not both in one step. So what changes at both ends is shown in two. Pure.
 */
import type { Row } from './rows';

export interface Listing {
  keys: string[];
  byKey: Map<string, Row>;
  /** Rows came or went in front, and nowhere else. */
  isShifted: boolean;
  /** What changed at the end is still to be shown. */
  isHalf: boolean;
}

/** `isScrollable`: what fits the window stands at its end anyway; a shift without a scroll would leave the list waiting. */
export function listingOf(before: Listing | undefined, rows: readonly Row[], isScrollable: () => boolean): Listing {
  const keys = rows.map(row => row.key);
  const byKey = new Map(rows.map(row => [row.key, row]));
  if (!before) return { keys, byKey, isShifted: false, isHalf: false };
  // The same keys as before: the rows in the page stay, and look their row up anew.
  if (keys.length === before.keys.length && keys.every((key, index) => key === before.keys[index])) {
    return { ...before, byKey, isHalf: false };
  }
  const isShifted = isChangedInFront(before, keys, byKey) && isScrollable();
  if (!isShifted || before.keys.at(-1) === keys.at(-1)) return { keys, byKey, isShifted, isHalf: false };
  const common = before.keys.findLastIndex(key => byKey.has(key));
  const end = before.keys.slice(common + 1);
  const half = [...keys.slice(0, keys.indexOf(before.keys[common] ?? '') + 1), ...end];
  for (const key of end) {
    const row = before.byKey.get(key);
    if (row) byKey.set(key, row);
  }
  return { keys: half, byKey, isShifted: true, isHalf: true };
}

const isMessage = (key: string): boolean => key.startsWith('s:') || key.startsWith('c:');

/** Whether other messages than before stand in front of some that stay. */
function isChangedInFront(before: Listing, keys: readonly string[], byKey: ReadonlyMap<string, Row>): boolean {
  const [first, next] = [before.keys.find(isMessage), keys.find(isMessage)];
  if (first === undefined || next === undefined || first === next) return false;
  return byKey.has(first) || before.byKey.has(next);
}
