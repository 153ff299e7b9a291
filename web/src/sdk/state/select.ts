/** What views and the engine read off the state. Pure. */
import type { ConversationId, EntryMaking, Item, Range, Seq, UserId } from '../frames';
import { hasGap, type Pending, type State } from '../state';
import { firstSeq, lastSeq } from './log';
import { own } from './record';

/** Where a person is: a conversation that exists, or one with a user that the first message will make. */
export type Place = { conversation: ConversationId } | { user: UserId };

/** Direct conversations by the person they are with; made once for each version of the items. */
const directItems = new WeakMap<State['items'], Map<UserId, Item>>();

export function directWith(state: State, user: UserId): Item | undefined {
  let byUser = directItems.get(state.items);
  if (!byUser) {
    const direct = Object.values(state.items).filter(item => item.kind === 'direct');
    byUser = new Map(direct.map(item => [item.with ?? '', item]));
    directItems.set(state.items, byUser);
  }
  return byUser.get(user);
}

/** The conversation's item, also when a place names the person it is with. */
export function itemAt(state: State, place: Place): Item | undefined {
  return 'user' in place ? directWith(state, place.user) : own(state.items, place.conversation);
}

/** The home list's order: pinned first, then by last activity; what waits to be sent counts as that. */
export function homeOrder(items: readonly Item[], outbox: readonly Pending[] = []): Item[] {
  const waiting = new Map(outbox.map(pending => [aboutOf(pending.frame), pending.at]));
  const activeAt = (item: Item) => {
    const at = item.last?.at ?? 0;
    if (waiting.size === 0) return at;
    return Math.max(at, waiting.get(item.conversation) ?? 0, waiting.get(`user:${item.with}`) ?? 0);
  };
  return [...items].sort(
    (one, other) =>
      Number(other.pinned) - Number(one.pinned) ||
      activeAt(other) - activeAt(one) ||
      (one.conversation < other.conversation ? -1 : 1),
  );
}

export function displayName(state: State, user: UserId): string {
  return own(state.users, user)?.name || user;
}

/** Whether a person is there, as far as it is known: without a line nobody is known to be. */
export function presenceOf(state: State, user: UserId | undefined): State['presence'][string] | undefined {
  return state.status.phase === 'ready' ? own(state.presence, user) : undefined;
}

export function itemName(state: State, item: Item): string {
  if (item.kind !== 'direct') return item.name ?? 'Conversation';
  return item.with_name || displayName(state, item.with ?? '');
}

/** Whether a conversation is found by some letters: those of its name, or of the username of whom it is with. */
export function isCalled(state: State, item: Item, sought: string): boolean {
  return `${itemName(state, item)}\n${item.with ?? ''}`.toLowerCase().includes(sought.toLowerCase().replace(/^@/, ''));
}

/** Who is known to be in a conversation: its members as far as they are loaded, and who wrote last. */
export function knownIn(state: State, item: Item): UserId[] {
  if (item.kind === 'direct') return item.with === undefined ? [] : [item.with];
  const members = (own(state.members, item.conversation) ?? []).map(member => member.user);
  const recent = own(state.logs, item.conversation)?.entries.slice(-RECENT_ENTRIES) ?? [];
  const writers = recent.flatMap(entry => [entry.from ?? state.me, ...(entry.add ?? [])]);
  const gone = new Set(recent.flatMap(entry => entry.remove ?? []));
  return [...new Set([...members, ...writers.filter(user => !gone.has(user))])].filter(user => user !== state.me);
}
const RECENT_ENTRIES = 300;

/** Who wrote last in groups and is known by id only. */
export function namelessWriters(state: State): UserId[] {
  const writers = Object.values(state.items).flatMap(item => (item.kind === 'direct' ? [] : (item.last?.from ?? [])));
  return [...new Set(writers)].filter(user => user !== state.me && !own(state.users, user) && !directWith(state, user));
}

/** What waits in the outbox for a place, in order. */
export function pendingAt(state: State, place: Place): Pending[] {
  const item = itemAt(state, place);
  const user = 'user' in place ? place.user : item?.with;
  return state.outbox.filter(pending => {
    const about = aboutOf(pending.frame);
    return about === item?.conversation || (user !== undefined && about === `user:${user}`);
  });
}

/** What an entry-making frame is about: requests with the same answer keep their order. */
export function aboutOf(frame: EntryMaking): string {
  if (frame.type === 'create') return `create:${frame.client_msg_id}`;
  if (frame.type !== 'send') return frame.conversation;
  if ('user' in frame.to) return `user:${frame.to.user}`;
  return 'conversation' in frame.to ? frame.to.conversation : `list:${frame.to.list}`;
}

/** How far everybody else has a message: for its ticks. */
export function receiptOf(state: State, item: Item, seq: Seq): 'sent' | 'delivered' | 'read' {
  const others = item.peer
    ? [item.peer]
    : (own(state.members, item.conversation) ?? []).filter(m => m.user !== state.me);
  if (others.length === 0) return 'sent';
  if (others.every(other => (other.read_seq ?? 0) >= seq)) return 'read';
  return others.every(other => Math.max(other.delivered_seq ?? 0, other.read_seq ?? 0) >= seq) ? 'delivered' : 'sent';
}

/** More than this is not caught up with: the window starts anew at the newest entries. */
export const MOST_CATCH_UP = 400;

/** Windows that must be fetched: what is missing after each, or all of it anew. */
export function gaps(state: State): { fill: Range[]; restart: ConversationId[] } {
  const fill: Range[] = [];
  const restart: ConversationId[] = [];
  for (const [conversation, log] of Object.entries(state.logs)) {
    if (log.stale) {
      const around = Math.round((firstSeq(log) + lastSeq(log)) / 2);
      fill.push({ conversation, around, limit: 200 });
    } else if (hasGap(state, conversation)) {
      const missing = (own(state.items, conversation)?.last_seq ?? 0) - lastSeq(log);
      if (missing > MOST_CATCH_UP) restart.push(conversation);
      else fill.push({ conversation, after: lastSeq(log), limit: 200 });
    }
  }
  return { fill, restart };
}

/** Unread messages outside muted conversations: for the window's title. */
export function unreadTotal(state: State): number {
  return Object.values(state.items).reduce((sum, item) => sum + (item.muted || item.archived ? 0 : item.unread), 0);
}
