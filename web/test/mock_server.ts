/**
 * A test double of the server: PROTOCOL version 1 over in-memory links, nothing durable but what lies in this object.
 * Small on purpose; what the app needs to be shown working, and switches for what goes wrong.
 */
import type {
  Changes,
  ConversationId,
  Entry,
  Hello,
  Item,
  Member,
  Outgoing,
  Role,
  Seq,
  ServerFrame,
  UserId,
} from '../src/sdk/frames';
import type { LinkHandlers, Transport } from '../src/sdk/transport';

interface Conversation {
  id: ConversationId;
  kind: 'direct' | 'group';
  name: string;
  members: Map<UserId, { role: Role; delivered: Seq; read: Seq }>;
  log: Entry[];
  /** Who reacted: target, emoji, user. */
  reactions: { target: Seq; emoji: string; user: UserId }[];
  /** `user client_msg_id` to seq. */
  repeats: Map<string, Seq>;
}

interface Session {
  user: UserId;
  handlers: LinkHandlers;
  watched: Set<UserId>;
  closed: boolean;
}

type Settings = Pick<Item, 'muted' | 'pinned' | 'archived'>;
interface Home {
  version: number;
  /** Version of each row's last change; a gone row has none in `items`. */
  rows: Map<ConversationId, { version: number; gone: boolean; settings: Settings }>;
  blocks: Set<UserId>;
  name: string | null;
}

class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly users?: UserId[],
  ) {
    super(message);
  }
}

export class MockServer {
  readonly conversations = new Map<ConversationId, Conversation>();
  readonly homes = new Map<UserId, Home>();
  readonly sessions = new Set<Session>();
  /** Every frame taken, by user: what tests look at. */
  readonly taken: { user: UserId; frame: Outgoing }[] = [];
  /** Refuses connections while set. */
  isDown = false;
  /** Takes requests and keeps their answers back while set. */
  withholds = false;
  /** Refuses the next frames of a type with a code. */
  readonly refuseNext: { type: string; code: string; retry_after_ms?: number }[] = [];
  now = () => Date.now();
  #lineage = 'l1';

  /** A transport whose links end here. */
  transport(name: Transport['name'] = 'websocket'): Transport {
    return {
      name,
      open: (hello, handlers) => {
        const session: Session = { user: '', handlers, watched: new Set(), closed: false };
        queueMicrotask(() => {
          if (session.closed) return;
          if (this.isDown) return this.#end(session, 1006, '');
          this.#hello(session, hello);
        });
        return {
          send: frame => queueMicrotask(() => this.take(session, frame)),
          close: () => this.#forget(session),
        };
      },
    };
  }

  /** Cuts every line, as a dying server does. */
  cutAll(code = 1006, reason = ''): void {
    for (const session of [...this.sessions]) this.#end(session, code, reason);
  }

  tellAll(frame: ServerFrame): void {
    for (const session of this.sessions) session.handlers.onFrame(frame);
  }

  home(user: UserId): Home {
    const known = this.homes.get(user);
    if (known) return known;
    const home: Home = { version: 0, rows: new Map(), blocks: new Set(), name: null };
    this.homes.set(user, home);
    return home;
  }

  #hello(session: Session, hello: Hello): void {
    const user = hello.username ?? '';
    session.user = user;
    this.home(user);
    this.sessions.add(session);
    const token = this.#token(user);
    this.#say(session, {
      type: 'welcome',
      user,
      device: hello.device ?? 'd-1',
      session: 's-1',
      sync: token,
      prefer: null,
      heartbeat_s: 25,
      limits: { text_bytes: 16_384, fetch: 200, watch_users: 500 },
      features: [],
    });
    if (hello.sync !== undefined) this.#say(session, this.#changes(user, hello.sync, hello.tail ?? 0));
    this.#tellPresence(user);
  }

  /** One frame from a session; `session.user` must be known. */
  take(session: Session, frame: Outgoing): void {
    if (session.closed) return;
    this.taken.push({ user: session.user, frame });
    const re = frame.id ?? null;
    try {
      const refusal = this.refuseNext.findIndex(each => each.type === frame.type);
      if (refusal >= 0) {
        const [{ code, retry_after_ms }] = this.refuseNext.splice(refusal, 1) as [(typeof this.refuseNext)[0]];
        return this.#say(session, {
          type: 'error',
          re,
          code,
          message: `refused: ${code}`,
          retry_after_ms: retry_after_ms ?? null,
        });
      }
      const answer = this.#perform(session, frame);
      if (frame.id !== undefined && !this.withholds) this.#say(session, { ...answer, re } as ServerFrame);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { code, message, users } = error;
      this.#say(session, { type: 'error', re, code, message, retry_after_ms: null, users });
    }
  }

  #perform(session: Session, frame: Outgoing): object {
    const { user } = session;
    switch (frame.type) {
      case 'send': {
        const conversation = this.#destination(user, frame.to);
        const { text, mentions, reply_to, client_msg_id } = frame;
        return this.#append(session, conversation, { kind: 'message', client_msg_id, text, mentions, reply_to });
      }
      case 'edit':
        return this.#about(session, frame, { kind: 'edit', target: frame.seq, text: frame.text });
      case 'redact':
        return this.#about(session, frame, { kind: 'redaction', target: frame.seq });
      case 'react':
        return this.#react(session, frame);
      case 'create':
        return this.#create(session, frame);
      case 'members': {
        const { add, remove, roles } = frame;
        return this.#about(session, frame, { kind: 'members', add, remove, roles });
      }
      case 'leave':
        return this.#about(session, frame, { kind: 'members', remove: [user] });
      case 'rename':
        return this.#about(session, frame, { kind: 'rename', name: frame.name });
      case 'fetch':
        if (frame.ranges) {
          return {
            type: 'entries',
            ranges: frame.ranges.map(range => this.#page(user, range.conversation, range)),
          };
        }
        return { type: 'entries', ...this.#page(user, frame.conversation ?? '', frame) };
      case 'inbox':
        return { ...this.#changes(user, undefined, frame.tail ?? 0), type: 'inbox', next: null };
      case 'sync':
        return this.#changes(user, frame.sync, frame.tail ?? 0);
      case 'mark_read':
      case 'ack':
        this.#receipt(user, frame.conversation, frame.type, frame.seq);
        return { type: 'ok' };
      case 'typing':
        this.#tellOthers(user, frame.conversation, { type: 'typing', conversation: frame.conversation, user });
        return { type: 'ok' };
      case 'watch':
        session.watched = new Set(frame.users);
        for (const each of frame.users) this.#say(session, this.#presence(each));
        return { type: 'ok' };
      case 'set': {
        const row = this.#row(user, frame.conversation);
        const { muted, pinned, archived } = { ...row.settings, ...frame };
        row.settings = { muted, pinned, archived };
        this.#touch(user, frame.conversation, true);
        return { type: 'ok' };
      }
      case 'block':
      case 'unblock':
        if (frame.type === 'block') this.home(user).blocks.add(frame.user);
        else this.home(user).blocks.delete(frame.user);
        if (this.conversations.has(directId(user, frame.user))) this.#touch(user, directId(user, frame.user), true);
        return { type: 'ok' };
      case 'profile':
        this.home(user).name = frame.name ?? null;
        return { type: 'ok' };
      default:
        return { type: 'ok' };
    }
  }

  // -------------------------------------------------------------- log

  #destination(user: UserId, to: { user: UserId } | { conversation: ConversationId } | { list: string }): Conversation {
    if ('conversation' in to) return this.#member(user, to.conversation);
    const other = 'user' in to ? to.user : '';
    if (!this.homes.has(other)) throw new Refusal('unknown_user', `There is no user “${other}”.`, [other]);
    const id = directId(user, other);
    const known = this.conversations.get(id);
    if (known) return known;
    const members = new Map([user, other].map(each => [each, { role: 'member' as Role, delivered: 0, read: 0 }]));
    const made = { id, kind: 'direct' as const, name: '', members, log: [], reactions: [], repeats: new Map() };
    this.conversations.set(id, made);
    return made;
  }

  #member(user: UserId, id: ConversationId): Conversation {
    const conversation = this.conversations.get(id);
    if (!conversation?.members.has(user)) throw new Refusal('unknown_conversation', 'There is no such conversation.');
    return conversation;
  }

  #about(session: Session, frame: { conversation: ConversationId; client_msg_id: string }, entry: Omit<Entry, 'seq'>) {
    const conversation = this.#member(session.user, frame.conversation);
    return this.#append(session, conversation, { ...entry, client_msg_id: frame.client_msg_id });
  }

  #react(session: Session, frame: Extract<Outgoing, { type: 'react' }>): object {
    const conversation = this.#member(session.user, frame.conversation);
    const { seq: target, emoji, on, client_msg_id } = frame;
    const others = conversation.reactions.filter(
      each => each.target !== target || each.emoji !== emoji || each.user !== session.user,
    );
    conversation.reactions = on ? [...others, { target, emoji, user: session.user }] : others;
    return this.#append(session, conversation, { kind: 'reaction', client_msg_id, target, emoji, on });
  }

  #create(session: Session, frame: Extract<Outgoing, { type: 'create' }>): object {
    const id = `g-${session.user}-${frame.client_msg_id}`;
    const asked = frame.members ?? [];
    const unknown = asked.filter(user => !this.homes.has(user));
    if (unknown.length > 0) throw new Refusal('unknown_user', 'Some of these users are not known.', unknown);
    const known = this.conversations.get(id);
    if (known) return { type: 'created', conversation: id, seq: 1, at: this.now(), repeat: true };
    const members = new Map(asked.map(user => [user, { role: 'member' as Role, delivered: 0, read: 0 }]));
    members.set(session.user, { role: 'owner', delivered: 0, read: 0 });
    const made: Conversation = {
      id,
      kind: 'group',
      name: frame.name,
      members,
      log: [],
      reactions: [],
      repeats: new Map(),
    };
    this.conversations.set(id, made);
    for (const user of members.keys()) if (user !== session.user) this.#touch(user, id, true);
    const add = [...members.keys()];
    const sent = this.#append(session, made, { kind: 'members', client_msg_id: frame.client_msg_id, add });
    this.#touch(session.user, id, true);
    return { ...sent, type: 'created' };
  }

  /** Puts the entry into the log and tells everybody but the connection that sent it. */
  #append(session: Session, conversation: Conversation, body: Omit<Entry, 'seq'>): object {
    const key = `${session.user} ${body.client_msg_id}`;
    const repeated = conversation.repeats.get(key);
    const sent = { type: 'sent', conversation: conversation.id, at: this.now() };
    if (repeated !== undefined) return { ...sent, seq: repeated, repeat: true };
    const seq = conversation.log.length + 1;
    const entry: Entry = { ...body, seq, from: session.user, at: sent.at };
    conversation.log.push(entry);
    conversation.repeats.set(key, seq);
    for (const user of entry.add ?? []) {
      if (!conversation.members.has(user)) {
        conversation.members.set(user, { role: 'member', delivered: seq - 1, read: seq - 1 });
        this.#touch(user, conversation.id, true);
      }
    }
    for (const [user, role] of Object.entries(entry.roles ?? {})) {
      const member = conversation.members.get(user);
      if (member) member.role = role;
    }
    if (entry.kind === 'rename') conversation.name = entry.name ?? '';
    for (const [user, member] of conversation.members) {
      if (user === session.user && entry.kind === 'message') member.read = seq;
      this.#touch(user, conversation.id, false);
      for (const other of this.#sessionsOf(user)) {
        if (other !== session)
          this.#say(other, { type: 'entry', conversation: conversation.id, ...this.#seen(user, entry) });
      }
    }
    for (const user of entry.remove ?? []) {
      conversation.members.delete(user);
      const row = this.#row(user, conversation.id);
      row.gone = true;
      this.#touch(user, conversation.id, true);
    }
    return { ...sent, seq };
  }

  #seen(user: UserId, entry: Entry): Entry {
    return this.home(user).blocks.has(entry.from ?? '') ? { seq: entry.seq, kind: 'void' } : entry;
  }

  #folded(user: UserId, conversation: Conversation, entry: Entry): Entry {
    const folded: Entry = { ...this.#seen(user, entry) };
    for (const later of conversation.log) {
      if (later.target !== entry.seq) continue;
      if (later.kind === 'edit') Object.assign(folded, { text: later.text, edited_seq: later.seq });
      if (later.kind === 'redaction') {
        delete folded.text;
        folded.redacted = { seq: later.seq, by: later.from ?? '', at: later.at ?? 0 };
      }
    }
    const reactions = new Map<string, { emoji: string; count: number; mine: boolean }>();
    for (const each of conversation.reactions.filter(reaction => reaction.target === entry.seq)) {
      const reaction = reactions.get(each.emoji) ?? { emoji: each.emoji, count: 0, mine: false };
      reaction.count += 1;
      reaction.mine ||= each.user === user;
      reactions.set(each.emoji, reaction);
    }
    if (reactions.size > 0) folded.reactions = [...reactions.values()];
    return folded;
  }

  #page(user: UserId, id: ConversationId, page: { before?: Seq; after?: Seq; around?: Seq; limit?: number }): object {
    const conversation = this.#member(user, id);
    const { log } = conversation;
    const limit = page.limit ?? 50;
    let from = Math.max(0, log.length - limit);
    if (page.before !== undefined) from = Math.max(0, page.before - 1 - limit);
    if (page.after !== undefined) from = page.after;
    if (page.around !== undefined) from = Math.max(0, page.around - 1 - Math.floor(limit / 2));
    const until = page.before === undefined ? from + limit : Math.min(from + limit, page.before - 1);
    const entries = log.slice(from, until).map(entry => this.#folded(user, conversation, entry));
    return { conversation: id, entries, first_seq: 1, last_seq: log.length };
  }

  // -------------------------------------------------------------- home

  #row(user: UserId, id: ConversationId) {
    const { rows } = this.home(user);
    const settings = { muted: false, pinned: false, archived: false };
    const row = rows.get(id) ?? { version: 0, gone: false, settings };
    rows.set(id, row);
    return row;
  }

  #touch(user: UserId, id: ConversationId, tell: boolean): void {
    const home = this.home(user);
    const row = this.#row(user, id);
    home.version += 1;
    row.version = home.version;
    if (!tell) return;
    const changes = { items: row.gone ? [] : [this.#item(user, id, 0)], removed: row.gone ? [id] : [] };
    for (const session of this.#sessionsOf(user)) {
      this.#say(session, { type: 'changes', ...changes, sync: this.#token(user), more: false, full: false });
    }
  }

  #token(user: UserId): string {
    return `${this.#lineage}.${this.home(user).version}`;
  }

  #changes(user: UserId, token: string | undefined, tail: number): Changes {
    const [lineage, version] = (token ?? '').split('.');
    const full = lineage !== this.#lineage;
    const since = full ? 0 : Number(version);
    const rows = [...this.home(user).rows].filter(([, row]) => row.version > since);
    return {
      type: 'changes',
      items: rows.filter(([, row]) => !row.gone).map(([id]) => this.#item(user, id, tail)),
      removed: full ? [] : rows.filter(([, row]) => row.gone).map(([id]) => id),
      sync: this.#token(user),
      more: false,
      full,
    };
  }

  #item(user: UserId, id: ConversationId, tail: number): Item {
    const conversation = this.conversations.get(id) as Conversation;
    const me = conversation.members.get(user) ?? { role: 'member' as Role, read: 0, delivered: 0 };
    const entries = conversation.log.map(entry => this.#folded(user, conversation, entry));
    const unread = entries.filter(e => e.kind === 'message' && e.seq > me.read && e.from !== user && !e.redacted);
    const last = entries.findLast(entry => ['message', 'members', 'rename'].includes(entry.kind)) ?? null;
    const [other, its] = [...conversation.members].find(([name]) => name !== user) ?? ['', undefined];
    const who: Partial<Item> =
      conversation.kind === 'direct'
        ? {
            with: other,
            with_name: this.home(other).name,
            with_picture: null,
            peer: { delivered_seq: its?.delivered ?? 0, read_seq: its?.read ?? 0 },
          }
        : { name: conversation.name, picture: null, member_count: conversation.members.size, role: me.role };
    return {
      conversation: id,
      kind: conversation.kind,
      ...who,
      last,
      last_seq: conversation.log.length,
      read_seq: me.read,
      unread: unread.length,
      mentions: unread.filter(entry => entry.mentions?.includes(user)).length,
      ...this.#row(user, id).settings,
      blocked: conversation.kind === 'direct' && this.home(user).blocks.has(other),
      ...(tail > 0 ? { tail: entries.slice(-tail) } : {}),
    };
  }

  #receipt(user: UserId, id: ConversationId, type: 'mark_read' | 'ack', seq: Seq): void {
    const conversation = this.#member(user, id);
    const member = conversation.members.get(user);
    if (!member) return;
    member.delivered = Math.max(member.delivered, seq);
    if (type === 'mark_read') {
      member.read = Math.max(member.read, seq);
      this.#touch(user, id, true);
    }
    const { delivered, read } = member;
    this.#tellOthers(user, id, {
      type: 'receipt',
      conversation: id,
      user,
      delivered_seq: Math.max(delivered, read),
      read_seq: read,
    });
  }

  members(id: ConversationId): Member[] {
    const members = this.conversations.get(id)?.members ?? new Map();
    return [...members].map(([user, m]) => ({ user, role: m.role, delivered_seq: m.delivered, read_seq: m.read }));
  }

  // -------------------------------------------------------------- sessions

  #presence(user: UserId): ServerFrame {
    const state = this.#sessionsOf(user).length > 0 ? 'online' : 'offline';
    return { type: 'presence', user, state, last_seen: this.now() };
  }

  #tellPresence(user: UserId): void {
    for (const session of this.sessions) if (session.watched.has(user)) this.#say(session, this.#presence(user));
  }

  #tellOthers(user: UserId, id: ConversationId, frame: ServerFrame): void {
    for (const member of this.#member(user, id).members.keys()) {
      if (member !== user) for (const session of this.#sessionsOf(member)) this.#say(session, frame);
    }
  }

  #sessionsOf(user: UserId): Session[] {
    return [...this.sessions].filter(session => session.user === user);
  }

  #say(session: Session, frame: ServerFrame): void {
    // As bytes would arrive: a copy, later, in order.
    const copy = structuredClone(frame);
    queueMicrotask(() => {
      if (!session.closed) session.handlers.onFrame(copy);
    });
  }

  #end(session: Session, code: number, reason: string): void {
    if (session.closed) return;
    this.#forget(session);
    session.handlers.onEnd(code, reason);
  }

  #forget(session: Session): void {
    session.closed = true;
    this.sessions.delete(session);
    if (session.user) this.#tellPresence(session.user);
  }
}

const directId = (one: UserId, other: UserId): ConversationId => `d-${[one, other].sort().join('-')}`;
