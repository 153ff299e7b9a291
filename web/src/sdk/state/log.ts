/**
 * The loaded window of one conversation's log: merging pages into it, following live entries, folding edits,
 * redactions and reactions onto their targets. Pure; knows nothing of items, requests or connections.
 */
import type { EntriesPage, Entry, Reaction, Seq, UserId } from '../frames';

/** An entry, and up to which seq later entries are already folded into it. */
export interface LogEntry extends Entry {
  folded_seq: Seq;
}

export interface Log {
  /** Dense and ascending. */
  readonly entries: readonly LogEntry[];
  /** The earliest entry that the reader may see. */
  readonly first_seq: Seq;
  /** Whether the window reaches the newest entry and follows it. */
  readonly attached: boolean;
  /** A detached window that missed entries: what later ones folded into it is not known. Ask for it anew. */
  readonly stale: boolean;
}

/** Most entries a window holds; the end that is farther from what was asked for is let go. */
export const MOST_ENTRIES = 4_000;

export const firstSeq = (log: Log): Seq => log.entries[0]?.seq ?? 0;
export const lastSeq = (log: Log): Seq => log.entries.at(-1)?.seq ?? 0;

export function find(log: Log, seq: Seq): LogEntry | undefined {
  const guess = log.entries[seq - firstSeq(log)];
  return guess?.seq === seq ? guess : log.entries.find(entry => entry.seq === seq);
}

/** What a page was asked for: the newest and `around` may replace the window, `before` and `after` only widen it. */
export type Wanted = 'newest' | 'before' | 'after' | 'around';

export function mergePage(log: Log | undefined, page: EntriesPage, wanted: Wanted, me: UserId): Log {
  const fresh = page.entries.map(entry => ({ ...entry, folded_seq: Math.max(page.last_seq, entry.seq) }));
  const reaches = (fresh.at(-1)?.seq ?? 0) >= page.last_seq;
  const opened: Log = { entries: fresh, first_seq: page.first_seq, attached: reaches, stale: false };
  if (!log) return opened;
  if (fresh.length === 0) {
    const isEnd = wanted === 'after' && lastSeq(log) >= page.last_seq;
    return { ...log, first_seq: page.first_seq, attached: log.attached || isEnd };
  }
  // An empty window has no place that a page could miss.
  if (log.entries.length === 0) return opened;
  const low = fresh[0]?.seq ?? 0;
  const high = fresh.at(-1)?.seq ?? 0;
  const touches = low <= lastSeq(log) + 1 && high >= firstSeq(log) - 1;
  if (!touches || (log.stale && wanted === 'around')) return wanted === 'before' || wanted === 'after' ? log : opened;
  const merged = union(log.entries, fresh, me);
  const widened: Log = {
    entries: merged,
    first_seq: page.first_seq,
    attached: log.attached || (merged.at(-1)?.seq ?? 0) >= page.last_seq,
    stale: log.stale,
  };
  return bounded(widened, wanted);
}

/** Follows the log by one live entry. A gap leaves the window as it is: see `gap` in `select.ts`. */
export function appendEntry(log: Log, entry: Entry, me: UserId): Log {
  if (entry.seq <= lastSeq(log)) return log;
  const folded = foldOnto(log, entry, me);
  if (!log.attached || entry.seq !== lastSeq(log) + 1) return folded;
  const entries = [...folded.entries, { ...entry, folded_seq: entry.seq }];
  return bounded({ ...folded, entries }, 'after');
}

function bounded(log: Log, wanted: Wanted): Log {
  const excess = log.entries.length - MOST_ENTRIES;
  if (excess <= 0) return log;
  // Cutting the older end is by the half, so that it happens seldom.
  if (wanted === 'before') return { ...log, entries: log.entries.slice(0, MOST_ENTRIES), attached: false };
  return { ...log, entries: log.entries.slice(-MOST_ENTRIES / 2) };
}

function union(held: readonly LogEntry[], fresh: readonly LogEntry[], me: UserId): LogEntry[] {
  const bySeq = new Map(held.map(entry => [entry.seq, entry]));
  const end = held.at(-1)?.seq ?? 0;
  for (const entry of fresh) {
    const known = bySeq.get(entry.seq);
    if (!known || known.folded_seq < entry.folded_seq) bySeq.set(entry.seq, entry);
  }
  // What the page brings behind the window may be about entries inside it.
  for (const entry of fresh) {
    const target = entry.seq > end && entry.target !== undefined ? bySeq.get(entry.target) : undefined;
    if (target) bySeq.set(target.seq, fold(target, entry, me));
  }
  return [...bySeq.values()].sort((one, other) => one.seq - other.seq);
}

function foldOnto(log: Log, entry: Entry, me: UserId): Log {
  if (entry.target === undefined) return log;
  const target = find(log, entry.target);
  if (!target) return log;
  const folded = fold(target, entry, me);
  return folded === target ? log : { ...log, entries: log.entries.map(each => (each === target ? folded : each)) };
}

/** `target` with `entry` (an edit, redaction or reaction about it) folded in, once. */
export function fold<T extends Entry & { folded_seq?: Seq }>(target: T, entry: Entry, me: UserId): T {
  if ((target.folded_seq ?? 0) >= entry.seq) return target;
  const next = { ...target, folded_seq: entry.seq };
  if (entry.kind === 'redaction') {
    delete next.text;
    delete next.reactions;
    next.redacted = { seq: entry.seq, by: entry.from ?? '', at: entry.at ?? 0 };
  } else if (entry.kind === 'edit' && !target.redacted) {
    next.text = entry.text ?? '';
    next.edited_seq = entry.seq;
  } else if (entry.kind === 'reaction' && !target.redacted) {
    next.reactions = foldReaction(target.reactions ?? [], entry, me);
  }
  return next;
}

function foldReaction(reactions: readonly Reaction[], entry: Entry, me: UserId): Reaction[] {
  const emoji = entry.emoji ?? '';
  const isMine = entry.from === me;
  const step = entry.on ? 1 : -1;
  const known = reactions.find(reaction => reaction.emoji === emoji);
  if (!known) return entry.on ? [...reactions, { emoji, count: 1, mine: isMine }] : [...reactions];
  const next = { ...known, count: known.count + step, mine: isMine ? entry.on === true : known.mine };
  return reactions.map(reaction => (reaction === known ? next : reaction)).filter(reaction => reaction.count > 0);
}
