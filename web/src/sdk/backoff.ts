/** How long to wait before the next try to connect: full jitter, so that a crowd does not come back at once. */

export const FIRST_MS = 500;
export const MOST_MS = 30_000;
/** A connection that lived this long is taken for healthy: the next failure starts from the beginning. */
export const RESET_AFTER_MS = 30_000;

/** The close code of a node that stops: after so long that is no failure, in a deploy all nodes do it one after the other. */
export const DRAINING = 3000;
export const PLANNED_AFTER_MS = 1_000;

/** `tries`: failures in a row before this wait, from 0. */
export function backoff(tries: number, random: () => number): number {
  const ceiling = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tries, 10));
  return Math.round(random() * ceiling);
}
