/** What the history shows, row by row: days, the unread line, notes, messages with their neighbours. Pure. */
import type { Entry, Log, Pending, Seq } from '../../sdk';
import { dayKey } from '../text/time';

export interface MessageRow {
  type: 'message';
  key: string;
  entry: Entry;
  /** Not on the server yet. */
  pending?: Pending;
  /** First and last of what one person wrote in a row. */
  isFirst: boolean;
  isLast: boolean;
}

export type Row =
  | MessageRow
  | { type: 'note'; key: string; entry: Entry }
  | { type: 'day'; key: string; at: number }
  | { type: 'unread'; key: string }
  | { type: 'start'; key: string };

/** Messages of one person this close together are shown as one block. */
const TOGETHER_MS = 5 * 60_000;

export interface RowsInput {
  log: Log | undefined;
  pending: readonly Pending[];
  me: string;
  /** What was read when the conversation was opened; null: no unread line. */
  unreadAfter: Seq | null;
}

export function rowsOf({ log, pending, me, unreadAfter }: RowsInput): Row[] {
  const rows: Row[] = [];
  if (log && (log.entries[0]?.seq ?? log.first_seq) <= Math.max(1, log.first_seq))
    rows.push({ type: 'start', key: 'start' });
  let day = '';
  let isLineDrawn = unreadAfter === null;
  const push = (entry: Entry, row: Row) => {
    const at = entry.at ?? 0;
    if (dayKey(at) !== day) {
      day = dayKey(at);
      rows.push({ type: 'day', key: `day:${day}`, at });
    }
    if (!isLineDrawn && entry.seq > (unreadAfter ?? 0) && entry.from !== me) {
      isLineDrawn = true;
      rows.push({ type: 'unread', key: 'unread' });
    }
    rows.push(row);
  };
  for (const entry of log?.entries ?? []) {
    if (entry.kind === 'message' || entry.kind === 'tip') push(entry, messageRow(keyOf(entry, me), entry));
    else if (entry.kind === 'members' || entry.kind === 'rename') {
      push(entry, { type: 'note', key: `s:${entry.seq}`, entry });
    }
  }
  // What waits stands behind all that the server has, if the end is what is shown.
  if (!log || log.attached) {
    for (const each of pending) {
      if (each.frame.type !== 'send') continue;
      const { text, mentions, reply_to, client_msg_id } = each.frame;
      const entry: Entry = { seq: 0, kind: 'message', from: me, at: each.at, text, mentions, reply_to, client_msg_id };
      isLineDrawn = true;
      push(entry, { ...messageRow(keyOf(entry, me), entry), pending: each });
    }
  }
  joinNeighbours(rows);
  return rows;
}

/** An own message keeps its row when it gets its seq. */
function keyOf(entry: Entry, me: string): string {
  return entry.from === me && entry.client_msg_id !== undefined ? `c:${entry.client_msg_id}` : `s:${entry.seq}`;
}

const messageRow = (key: string, entry: Entry): MessageRow => {
  return { type: 'message', key, entry, isFirst: true, isLast: true };
};

function joinNeighbours(rows: Row[]): void {
  for (let index = 1; index < rows.length; index += 1) {
    const [before, row] = [rows[index - 1], rows[index]];
    if (before?.type !== 'message' || row?.type !== 'message') continue;
    const isNear = (row.entry.at ?? 0) - (before.entry.at ?? 0) < TOGETHER_MS;
    if (before.entry.from === row.entry.from && isNear) before.isLast = row.isFirst = false;
  }
}
