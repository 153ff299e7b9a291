/**
 * What a client knows, as a pure reducer: `reduce(state, event) -> state`. Frames and the person's own acts are
 * events; time comes in with them. The state is plain data: it is cloned to other tabs and into IndexedDB.
 */
import type {
  Changes,
  ClientFrame,
  ConversationId,
  Entries,
  EntriesPage,
  Entry,
  EntryMaking,
  Item,
  Limits,
  Member,
  Millis,
  Presence,
  Sent,
  Seq,
  ServerFrame,
  UserId,
  UserProfile,
} from './frames';
import { directItem, groupItem, itemAfter, itemRead } from './state/inbox';
import { appendEntry, find, type Log, lastSeq, mergePage, type Wanted } from './state/log';
import { own, without } from './state/record';

/** How the line to the server stands. */
export interface Status {
  phase: 'offline' | 'connecting' | 'ready' | 'ended';
  /** While ready: what carries the frames. */
  transport?: 'websocket' | 'sse' | 'long_poll';
  /** While offline: when the next try is due; absent when only a network can bring one. */
  next_try_at?: Millis;
  /** Why it ended for good: a close code's reason or a refusal. */
  reason?: string;
}

/** Something that waits in the outbox. */
export interface Pending {
  readonly client_msg_id: string;
  readonly frame: EntryMaking;
  readonly at: Millis;
  /** Why the server refused it; absent while it waits. */
  readonly refused?: { code: string; message: string };
  /** Durable already, but entries before it are still to come: it stands behind all others until then. */
  readonly placed?: { conversation: ConversationId; seq: Seq };
}

export interface State {
  readonly me: UserId;
  readonly status: Status;
  readonly limits: Partial<Limits>;
  /** The sync token of what is held here; null before the first answer. */
  readonly sync: string | null;
  /** Whether the inbox was ever whole: until then an empty list means "not known yet". */
  readonly loaded: boolean;
  /** An entry came for a conversation that is not held: ask what changed. */
  readonly wants_sync: boolean;
  /** While a full answer comes in pages: what it named so far. */
  readonly full_pages: readonly ConversationId[] | null;
  readonly items: Readonly<Record<ConversationId, Item>>;
  readonly logs: Readonly<Record<ConversationId, Log>>;
  readonly outbox: readonly Pending[];
  readonly presence: Readonly<Record<UserId, Pick<Presence, 'state' | 'last_seen'>>>;
  /** Who types where, and until when to believe it. */
  readonly typing: Readonly<Record<ConversationId, Readonly<Record<UserId, Millis>>>>;
  readonly members: Readonly<Record<ConversationId, readonly Member[]>>;
  readonly users: Readonly<Record<UserId, UserProfile>>;
}

export type Event =
  | { type: 'frame'; frame: ServerFrame; request?: ClientFrame; at: Millis }
  | { type: 'status'; status: Status }
  | { type: 'queued'; pending: Pending }
  | { type: 'refused'; client_msg_id: string; code: string; message: string }
  | { type: 'retried'; client_msg_id: string }
  | { type: 'discarded'; client_msg_id: string }
  | { type: 'read'; conversation: ConversationId; seq: Seq }
  | { type: 'changed'; conversation: ConversationId; settings: Partial<Item> }
  | { type: 'members'; conversation: ConversationId; members: readonly Member[] }
  | { type: 'users'; users: readonly UserProfile[] }
  | { type: 'forgot_log'; conversation: ConversationId }
  | { type: 'asked_sync' }
  | { type: 'replaced'; state: State };

const TYPING_LASTS_MS = 6_000;

export function initialState(me: UserId): State {
  return {
    me,
    status: { phase: 'offline' },
    limits: {},
    sync: null,
    loaded: false,
    wants_sync: false,
    full_pages: null,
    items: {},
    logs: {},
    outbox: [],
    presence: {},
    typing: {},
    members: {},
    users: {},
  };
}

export function reduce(state: State, event: Event): State {
  switch (event.type) {
    case 'frame':
      return reduceFrame(state, event.frame, event.request, event.at);
    case 'status':
      return { ...state, status: event.status };
    case 'queued':
      if (state.outbox.some(pending => pending.client_msg_id === event.pending.client_msg_id)) return state;
      return { ...state, outbox: [...state.outbox, event.pending] };
    case 'refused':
      return changePending(state, event.client_msg_id, pending => ({
        ...pending,
        refused: { code: event.code, message: event.message },
      }));
    case 'retried':
      return changePending(state, event.client_msg_id, ({ refused: _, ...pending }) => pending);
    case 'discarded':
      return withoutPending(state, event.client_msg_id);
    case 'read':
      return changeItem(state, event.conversation, item =>
        itemRead(item, event.seq, state.me, own(state.logs, event.conversation)?.entries ?? []),
      );
    case 'changed':
      return changeItem(state, event.conversation, item => ({ ...item, ...event.settings }));
    case 'members':
      return { ...state, members: { ...state.members, [event.conversation]: event.members } };
    case 'users': {
      const learned = Object.fromEntries(event.users.map(profile => [profile.user, profile]));
      return { ...state, users: { ...state.users, ...learned } };
    }
    case 'forgot_log':
      return withoutPlaced({ ...state, logs: without(state.logs, event.conversation) }, event.conversation);
    case 'asked_sync':
      return { ...state, wants_sync: false };
    case 'replaced':
      return event.state;
  }
}

function reduceFrame(state: State, frame: ServerFrame, request: ClientFrame | undefined, at: Millis): State {
  switch (frame.type) {
    case 'welcome':
      // The server may have mapped the name: what it says is who this is.
      return { ...state, me: frame.user || state.me, limits: { ...state.limits, ...frame.limits } };
    case 'sent':
    case 'created':
      return reduceSent(state, frame, request);
    case 'entry': {
      const { type: _, conversation, ...entry } = frame;
      return reduceEntry(state, conversation, entry);
    }
    case 'entries':
      return reducePages(state, frame, request);
    case 'changes':
      return reduceChanges(state, frame, request);
    case 'receipt':
      return reduceReceipt(state, frame.conversation, frame.user, frame);
    case 'typing': {
      const typing = { ...own(state.typing, frame.conversation), [frame.user]: at + TYPING_LASTS_MS };
      return { ...state, typing: { ...state.typing, [frame.conversation]: typing } };
    }
    case 'presence': {
      const presence = { state: frame.state, last_seen: frame.last_seen ?? null };
      return { ...state, presence: { ...state.presence, [frame.user]: presence } };
    }
    default:
      return state;
  }
}

// ---------------------------------------------------------------- entries

function reduceEntry(state: State, conversation: ConversationId, entry: Entry): State {
  const item = own(state.items, conversation);
  if (!item) return { ...state, wants_sync: true };
  const log = own(state.logs, conversation);
  let next = changeItem(state, conversation, each =>
    itemAfter(each, entry, state.me, seq => (log ? find(log, seq) : undefined)),
  );
  if (log) next = { ...next, logs: { ...next.logs, [conversation]: appendEntry(log, entry, state.me) } };
  if (entry.kind === 'members') next = changeMembers(next, conversation, entry);
  next = stopTyping(next, conversation, entry.from);
  // One's own message may come back by a sync before its answer does; one that runs ahead keeps its place.
  const isAhead = next.outbox.some(({ placed }) => placed?.conversation === conversation && placed.seq === entry.seq);
  return withoutPlaced(isAhead ? next : withoutPending(next, ownId(entry, state.me)), conversation);
}

/** An answer means that the entry stands; the server does not send it back to who made it. */
function reduceSent(state: State, sent: Sent, request: ClientFrame | undefined): State {
  if (!request || !('client_msg_id' in request)) return state;
  // Where answers and entries come by two ways, entries before this one may still be missing: until they are there, the
  // message goes on standing behind all others.
  const placed = { conversation: sent.conversation, seq: sent.seq };
  const next = runsAhead(state, sent)
    ? changePending(state, request.client_msg_id, pending => ({ ...pending, placed }))
    : withoutPending(state, request.client_msg_id);
  if (request.type === 'leave') return next;
  const held = own(next.items, sent.conversation) ? next : withNewItem(next, sent, request);
  const entry = entryOf(request, sent, state.me);
  return entry ? reduceEntry(held, sent.conversation, entry) : held;
}

function runsAhead(state: State, { conversation, seq }: Sent): boolean {
  const log = own(state.logs, conversation);
  return own(state.items, conversation) !== undefined && log?.attached === true && seq > lastSeq(log) + 1;
}

function withNewItem(state: State, sent: Sent, request: EntryMaking): State {
  let item: Item | null = null;
  if (request.type === 'send') item = directItem(sent.conversation, request);
  if (request.type === 'create') {
    item = groupItem(sent.conversation, request.name, (request.members ?? []).length + 1, sent.seq);
  }
  if (!item) return state;
  // A repeat of an older entry, or a conversation that has entries already: the server knows the item better.
  const wants_sync = state.wants_sync || sent.seq > 1 || request.type === 'create';
  const logs =
    sent.seq === 1 && request.type === 'send' ? { ...state.logs, [sent.conversation]: EMPTY_LOG } : state.logs;
  return { ...state, wants_sync, logs, items: { ...state.items, [sent.conversation]: item } };
}

function entryOf(request: EntryMaking, sent: Sent, me: UserId): Entry | null {
  const { client_msg_id } = request;
  const base = { seq: sent.seq, at: sent.at, from: me, client_msg_id };
  switch (request.type) {
    case 'send': {
      const { text, mentions, reply_to, attachments, data } = request;
      return { ...base, kind: 'message', text, mentions, reply_to, attachments, data };
    }
    case 'edit':
      return { ...base, kind: 'edit', target: request.seq, text: request.text };
    case 'redact':
      return { ...base, kind: 'redaction', target: request.seq };
    case 'react':
      return { ...base, kind: 'reaction', target: request.seq, emoji: request.emoji, on: request.on };
    case 'members':
      return { ...base, kind: 'members', add: request.add, remove: request.remove, roles: request.roles };
    case 'rename':
      return { ...base, kind: 'rename', name: request.name };
    case 'create':
    case 'leave':
      return null;
  }
}

// ---------------------------------------------------------------- history

function reducePages(state: State, answer: Entries, request: ClientFrame | undefined): State {
  if (request?.type !== 'fetch') return state;
  if (!answer.ranges) {
    const { conversation, entries, first_seq, last_seq } = answer;
    if (conversation === undefined || !entries) return state;
    const page = { conversation, entries, first_seq: first_seq ?? 1, last_seq: last_seq ?? 0 };
    return mergeInto(state, page, wantedBy(request));
  }
  return answer.ranges.reduce((next, range, index) => {
    if ('code' in range) return next;
    return mergeInto(next, range, wantedBy(request.ranges?.[index] ?? {}));
  }, state);
}

function wantedBy(page: { before?: Seq; after?: Seq; around?: Seq }): Wanted {
  if (page.before !== undefined) return 'before';
  if (page.after !== undefined) return 'after';
  return page.around !== undefined ? 'around' : 'newest';
}

function mergeInto(state: State, page: EntriesPage, wanted: Wanted): State {
  const log = mergePage(own(state.logs, page.conversation), page, wanted, state.me);
  const next = { ...state, logs: { ...state.logs, [page.conversation]: log } };
  return withoutPlaced(next, page.conversation);
}

// ---------------------------------------------------------------- inbox

function reduceChanges(state: State, changes: Changes, request: ClientFrame | undefined): State {
  let next = changes.items.reduce((each, item) => reduceItem(each, item, changes.full), state);
  next = changes.removed.reduce(dropConversation, next);
  // Only an answer's token is taken: what is told on the way may overtake entries that are still to come.
  const isAnswer = request?.type === 'hello' || request?.type === 'sync';
  if (!isAnswer) return next;
  next = { ...next, sync: changes.sync, loaded: next.loaded || !changes.more };
  if (!changes.full) return next;
  const named = [...(state.full_pages ?? []), ...changes.items.map(item => item.conversation)];
  if (changes.more) return { ...next, full_pages: named };
  const kept = new Set(named);
  const gone = Object.keys(next.items).filter(conversation => !kept.has(conversation));
  return { ...gone.reduce(dropConversation, next), full_pages: null };
}

/** `isFull`: the answer stands for everything, and may go back: after a restore from a backup it does. */
function reduceItem(state: State, { tail, ...told }: Item, isFull: boolean): State {
  const held = own(state.items, told.conversation);
  const item = held && !isFull ? newerOf(held, told) : told;
  let next: State = { ...state, items: { ...state.items, [told.conversation]: item } };
  if (isFull && lastSeq(own(next.logs, told.conversation) ?? EMPTY_LOG) > told.last_seq) {
    next = { ...next, logs: without(next.logs, told.conversation) };
  }
  const log = own(next.logs, told.conversation);
  if (tail && tail.length > 0) {
    const page = {
      conversation: told.conversation,
      entries: tail,
      first_seq: told.first_seq ?? log?.first_seq ?? 1,
      last_seq: told.last_seq,
    };
    // A window that is not at the end stays where the reader is.
    if (!log || log.attached) next = mergeInto(next, page, log ? 'after' : 'newest');
    next = tail.reduce((each, entry) => withoutPending(each, ownId(entry, state.me)), next);
  }
  const after = own(next.logs, told.conversation);
  if (after && !after.attached && held && told.last_seq > held.last_seq) {
    next = { ...next, logs: { ...next.logs, [told.conversation]: { ...after, stale: true } } };
  }
  return next;
}

const EMPTY_LOG: Log = { entries: [], first_seq: 1, attached: true, stale: false };
const ownId = (entry: Entry, me: UserId): string => (entry.from === me ? (entry.client_msg_id ?? '') : '');

/** Live entries may have run ahead of an item that was read before them: what only grows does not go back. */
function newerOf(held: Item, told: Item): Item {
  if (told.last_seq >= held.last_seq) return told;
  return { ...told, last: held.last, last_seq: held.last_seq, unread: held.unread, mentions: held.mentions };
}

function dropConversation(state: State, conversation: ConversationId): State {
  return {
    ...state,
    items: without(state.items, conversation),
    logs: without(state.logs, conversation),
    members: without(state.members, conversation),
  };
}

// ---------------------------------------------------------------- members, receipts, small helpers

function reduceReceipt(
  state: State,
  conversation: ConversationId,
  user: UserId,
  told: { delivered_seq: Seq; read_seq: Seq },
): State {
  const forward = (from: { delivered_seq?: Seq; read_seq?: Seq } | undefined) => ({
    delivered_seq: Math.max(from?.delivered_seq ?? 0, told.delivered_seq),
    read_seq: Math.max(from?.read_seq ?? 0, told.read_seq),
  });
  const members = own(state.members, conversation)?.map(member =>
    member.user === user ? { ...member, ...forward(member) } : member,
  );
  const next = members ? { ...state, members: { ...state.members, [conversation]: members } } : state;
  return changeItem(next, conversation, item => (item.with === user ? { ...item, peer: forward(item.peer) } : item));
}

function changeMembers(state: State, conversation: ConversationId, entry: Entry): State {
  const held = own(state.members, conversation);
  if (!held) return state;
  const kept = held
    .filter(member => !entry.remove?.includes(member.user))
    .map(member => ({ ...member, role: own(entry.roles ?? {}, member.user) ?? member.role }));
  const added = (entry.add ?? [])
    .filter(user => !held.some(member => member.user === user))
    .map((user): Member => ({ user, role: own(entry.roles ?? {}, user) ?? 'member' }));
  return { ...state, members: { ...state.members, [conversation]: [...kept, ...added] } };
}

function stopTyping(state: State, conversation: ConversationId, user: UserId | undefined): State {
  const typing = own(state.typing, conversation);
  if (!typing || user === undefined || !Object.hasOwn(typing, user)) return state;
  return { ...state, typing: { ...state.typing, [conversation]: without(typing, user) } };
}

function changeItem(state: State, conversation: ConversationId, change: (item: Item) => Item): State {
  const item = own(state.items, conversation);
  if (!item) return state;
  const next = change(item);
  return next === item ? state : { ...state, items: { ...state.items, [conversation]: next } };
}

function changePending(state: State, id: string, change: (pending: Pending) => Pending): State {
  return {
    ...state,
    outbox: state.outbox.map(pending => (pending.client_msg_id === id ? change(pending) : pending)),
  };
}

function withoutPending(state: State, id: string): State {
  if (!state.outbox.some(pending => pending.client_msg_id === id)) return state;
  return { ...state, outbox: state.outbox.filter(pending => pending.client_msg_id !== id) };
}

/** What ran ahead is done with once the log has caught up, or is not held any more. */
function withoutPlaced(state: State, conversation: ConversationId): State {
  const log = own(state.logs, conversation);
  const isOpen = ({ placed }: Pending): boolean =>
    placed?.conversation !== conversation || (log?.attached === true && lastSeq(log) < placed.seq);
  return state.outbox.every(isOpen) ? state : { ...state, outbox: state.outbox.filter(isOpen) };
}

/** Whether a held window ends before the conversation does, though it should follow it. */
export function hasGap(state: State, conversation: ConversationId): boolean {
  const log = own(state.logs, conversation);
  const item = own(state.items, conversation);
  return log !== undefined && item !== undefined && log.attached && lastSeq(log) < item.last_seq;
}
