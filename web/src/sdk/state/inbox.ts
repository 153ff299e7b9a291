/**
 * One inbox item under live entries: preview, unread, mentions, names. Pure. The server's items, when they come, stand
 * above what is computed here.
 */
import type { Entry, Item, Send, Seq, UserId } from '../frames';
import { fold } from './log';
import { own } from './record';

const PREVIEW_CHARS = 200;
const MOST_UNREAD = 9_999;
const PREVIEWED = new Set(['message', 'tip', 'members', 'rename']);

const counts = (entry: Entry): boolean => entry.kind === 'message' || entry.kind === 'tip';
const mentionsUser = (entry: Entry, user: UserId): boolean =>
  entry.mentions?.some(mention => mention === user || mention === '@all') ?? false;

/** `known(seq)`: the entry of that seq if it is loaded; a redaction takes an unread one back. */
export function itemAfter(item: Item, entry: Entry, me: UserId, known: (seq: Seq) => Entry | undefined): Item {
  if (entry.seq <= item.last_seq) return item;
  let next: Item = { ...item, last_seq: entry.seq };
  if (PREVIEWED.has(entry.kind)) next.last = preview(entry);
  else if (item.last && entry.target === item.last.seq) next.last = preview(fold(item.last, entry, me));
  if (counts(entry)) next = { ...next, ...counted(item, entry, me) };
  if (entry.kind === 'rename') next.name = entry.name ?? item.name;
  if (entry.kind === 'members') {
    next.member_count = (item.member_count ?? 0) + (entry.add?.length ?? 0) - (entry.remove?.length ?? 0);
    next.role = own(entry.roles ?? {}, me) ?? item.role;
  }
  if (entry.kind === 'redaction' && entry.target !== undefined && entry.target > item.read_seq) {
    const target = known(entry.target);
    if (target && counts(target) && target.from !== me && !target.redacted) next.unread = Math.max(0, item.unread - 1);
  }
  return next;
}

function counted(item: Item, entry: Entry, me: UserId): Partial<Item> {
  if (entry.from === me) return { read_seq: entry.seq, unread: 0, mentions: 0 };
  return {
    unread: Math.min(MOST_UNREAD, item.unread + 1),
    mentions: item.mentions + (mentionsUser(entry, me) ? 1 : 0),
  };
}

export function preview(entry: Entry): Entry {
  const chars = Array.from(entry.text ?? '');
  if (chars.length <= PREVIEW_CHARS) return entry;
  return { ...entry, text: chars.slice(0, PREVIEW_CHARS).join(''), cut: true };
}

/** The item after this user read up to `seq`. Exact when all up to the end is read, else counted from what is loaded. */
export function itemRead(item: Item, seq: Seq, me: UserId, loaded: readonly Entry[]): Item {
  if (seq <= item.read_seq) return item;
  const read_seq = Math.min(seq, item.last_seq);
  if (read_seq === item.last_seq) return { ...item, read_seq, unread: 0, mentions: 0 };
  const nowRead = loaded.filter(
    entry => entry.seq > item.read_seq && entry.seq <= seq && counts(entry) && !entry.redacted && entry.from !== me,
  );
  const mentions = nowRead.filter(entry => mentionsUser(entry, me)).length;
  return {
    ...item,
    read_seq,
    unread: Math.max(0, item.unread - nowRead.length),
    mentions: Math.max(0, item.mentions - mentions),
  };
}

const BLANK = { last: null, unread: 0, mentions: 0, muted: false, pinned: false, archived: false, blocked: false };

/** A direct conversation that this user's first message has just made; the server's own item follows. */
export function directItem(conversation: string, request: Send): Item | null {
  if (!('user' in request.to)) return null;
  const peer = { delivered_seq: 0, read_seq: 0 };
  return { ...BLANK, conversation, kind: 'direct', with: request.to.user, peer, last_seq: 0, read_seq: 0 };
}

/** A group that this user has just made. `seq`: its first entry, which makes the members. */
export function groupItem(conversation: string, name: string, members: number, seq: Seq): Item {
  return {
    ...BLANK,
    conversation,
    kind: 'group',
    name,
    member_count: members,
    role: 'owner',
    last_seq: seq,
    read_seq: seq,
  };
}
