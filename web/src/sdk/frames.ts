/**
 * The frames of PROTOCOL version 1 as TypeScript types, and nothing else. They mirror the Rust types of
 * `tidings-proto`; the golden frames in `fixtures/frames` hold the two together.
 */

export type UserId = string;
export type ConversationId = string;
export type DeviceId = string;
/** The place of an entry in its conversation: 1, 2, 3 …, dense, given by the server. */
export type Seq = number;
export type RequestId = number | string;
/** Unix milliseconds, for people. Order is `seq`. */
export type Millis = number;

// ---------------------------------------------------------------- what a client says

export type To = { user: UserId } | { conversation: ConversationId } | { list: string };
export type Role = 'member' | 'admin' | 'owner';

export interface Hello {
  type: 'hello';
  username?: string;
  token?: string;
  device?: DeviceId;
  /** Resume: what differs since this token comes first, as `changes`. */
  sync?: string;
  /** So many of each changed conversation's newest entries come with it. */
  tail?: number;
}

export interface Send {
  type: 'send';
  to: To;
  client_msg_id: string;
  text: string;
  mentions?: string[];
  reply_to?: Seq;
  attachments?: string[];
  data?: Record<string, unknown>;
}

export interface Create {
  type: 'create';
  client_msg_id: string;
  name: string;
  members: UserId[];
  history?: 'all' | 'joined';
}

export interface Members {
  type: 'members';
  client_msg_id: string;
  conversation: ConversationId;
  add?: UserId[];
  remove?: UserId[];
  roles?: Record<UserId, Role>;
}

export interface Leave {
  type: 'leave';
  client_msg_id: string;
  conversation: ConversationId;
}

export interface Rename {
  type: 'rename';
  client_msg_id: string;
  conversation: ConversationId;
  name: string;
}

export interface Edit {
  type: 'edit';
  client_msg_id: string;
  conversation: ConversationId;
  seq: Seq;
  text: string;
}

export interface Redact {
  type: 'redact';
  client_msg_id: string;
  conversation: ConversationId;
  seq: Seq;
}

export interface React {
  type: 'react';
  client_msg_id: string;
  conversation: ConversationId;
  seq: Seq;
  emoji: string;
  on: boolean;
}

/** All that makes an entry. It carries a `client_msg_id`, so that a repeat is answered as the first was. */
export type EntryMaking = Send | Create | Members | Leave | Rename | Edit | Redact | React;

/** `before`, `after` exclusive, `around` inclusive, none: the newest. */
export interface Page {
  before?: Seq;
  after?: Seq;
  around?: Seq;
  limit?: number;
}

export interface Range extends Page {
  conversation: ConversationId;
}

export interface Fetch extends Page {
  type: 'fetch';
  conversation?: ConversationId;
  ranges?: Range[];
}

export interface Inbox {
  type: 'inbox';
  limit?: number;
  cursor?: string | null;
  tail?: number;
}

export interface Sync {
  type: 'sync';
  /** Absent: the whole inbox. */
  sync?: string;
  tail?: number;
}

export type Settings = { muted?: boolean; pinned?: boolean; archived?: boolean };

export type ClientFrame =
  | Hello
  | EntryMaking
  | Fetch
  | Inbox
  | Sync
  | { type: 'auth'; token: string }
  | { type: 'mark_read'; conversation: ConversationId; seq: Seq }
  | { type: 'ack'; conversation: ConversationId; seq: Seq }
  | { type: 'typing'; conversation: ConversationId }
  | { type: 'watch'; users: UserId[] }
  | { type: 'block'; user: UserId }
  | { type: 'unblock'; user: UserId }
  | ({ type: 'set'; conversation: ConversationId } & Settings)
  | { type: 'profile'; name?: string; picture?: string; presence?: 'everyone' | 'contacts' | 'nobody' }
  | { type: 'ping' }
  | { type: 'pong' };

/** A frame as it goes out: with an `id` it gets exactly one answer, whose `re` is that id. */
export type Outgoing = ClientFrame & { id?: RequestId };

// ---------------------------------------------------------------- what a client is told

export interface Limits {
  frame_bytes: number;
  text_bytes: number;
  data_bytes: number;
  fetch: number;
  ranges: number;
  inbox: number;
  watch_users: number;
  members_a_call: number;
  group_members: number;
  name_chars: number;
  user_bytes: number;
  device_bytes: number;
  client_msg_id_bytes: number;
  emoji_bytes: number;
  mentions: number;
  attachments: number;
  reactions_an_entry: number;
}

export interface Welcome {
  type: 'welcome';
  user: UserId;
  device: DeviceId;
  session: string;
  sync: string;
  prefer: string | null;
  heartbeat_s: number;
  limits: Partial<Limits>;
  features: string[];
}

export interface Reaction {
  emoji: string;
  count: number;
  mine: boolean;
}

/** Kinds of a newer version are skipped, so a `kind` may be any string. */
export type Kind =
  | 'message'
  | 'edit'
  | 'redaction'
  | 'reaction'
  | 'members'
  | 'rename'
  | 'tip'
  | 'void'
  | (string & {});

/** One entry of a log. Which fields stand depends on `kind`; a `void` one has `seq` and `kind` only. */
export interface Entry {
  seq: Seq;
  kind: Kind;
  from?: UserId;
  at?: Millis;
  client_msg_id?: string;
  text?: string;
  mentions?: string[];
  reply_to?: Seq;
  attachments?: string[];
  data?: Record<string, unknown>;
  /** A preview whose text was cut. */
  cut?: boolean;
  edited_seq?: Seq;
  redacted?: { seq: Seq; by: UserId; at: Millis };
  reactions?: Reaction[];
  /** What an edit, redaction or reaction is about. */
  target?: Seq;
  emoji?: string;
  on?: boolean;
  add?: UserId[];
  remove?: UserId[];
  roles?: Record<UserId, Role>;
  name?: string;
}

export interface Item {
  conversation: ConversationId;
  kind: 'direct' | 'group' | 'list' | 'system';
  with?: UserId;
  with_name?: string | null;
  with_picture?: string | null;
  peer?: { delivered_seq: Seq; read_seq: Seq };
  name?: string;
  picture?: string | null;
  member_count?: number;
  role?: Role;
  last: Entry | null;
  first_seq?: Seq;
  last_seq: Seq;
  read_seq: Seq;
  unread: number;
  mentions: number;
  muted: boolean;
  pinned: boolean;
  archived: boolean;
  blocked: boolean;
  /** With `tail` asked for: the newest entries, ascending. */
  tail?: Entry[];
}

/** The answer to all that makes an entry: it is durable now. */
export interface Sent {
  type: 'sent' | 'created';
  re: RequestId | null;
  conversation: ConversationId;
  seq: Seq;
  at: Millis;
  repeat?: boolean;
}

export interface EntriesPage {
  conversation: ConversationId;
  entries: Entry[];
  /** What the reader may see at all. */
  first_seq: Seq;
  last_seq: Seq;
}

export type RangeAnswer = EntriesPage | { conversation: ConversationId; code: string; message: string };

export interface Entries extends Partial<EntriesPage> {
  type: 'entries';
  re: RequestId | null;
  ranges?: RangeAnswer[];
  more?: boolean;
}

export interface Changes {
  type: 'changes';
  re?: RequestId | null;
  items: Item[];
  removed: ConversationId[];
  sync: string;
  more: boolean;
  /** What is not in this answer, or in its later pages, is gone. */
  full: boolean;
}

export interface Refusal {
  type: 'error';
  re?: RequestId | null;
  code: string;
  /** What to do, in words. */
  message: string;
  retry_after_ms?: number | null;
  users?: UserId[];
  login_url?: string;
}

export interface Presence {
  type: 'presence';
  user: UserId;
  state: 'online' | 'offline';
  last_seen?: Millis | null;
}

export interface Receipt {
  type: 'receipt';
  conversation: ConversationId;
  user: UserId;
  delivered_seq: Seq;
  read_seq: Seq;
}

export type ServerFrame =
  | Welcome
  | Sent
  | ({ type: 'entry'; conversation: ConversationId } & Entry)
  | Entries
  | { type: 'inbox'; re: RequestId | null; items: Item[]; next: string | null; sync: string }
  | Changes
  | Receipt
  | { type: 'typing'; conversation: ConversationId; user: UserId }
  | Presence
  | { type: 'ok'; re: RequestId | null }
  | Refusal
  | { type: 'move'; after_ms: number }
  | { type: 'expiring'; in_s: number }
  | { type: 'close'; code: number; reason: string }
  | { type: 'ping' }
  | { type: 'pong'; re?: RequestId | null };

// ---------------------------------------------------------------- what HTTP tells besides

export interface Member {
  user: UserId;
  role: Role;
  delivered_seq?: Seq;
  read_seq?: Seq;
}

/** `GET /v1/conversations/{id}`: the item, and up to 64 members. */
export interface ConversationDetails extends Item {
  history: 'all' | 'joined';
  members: Member[];
}

export interface UserProfile {
  user: UserId;
  name?: string | null;
  picture?: string | null;
  presence?: 'online' | 'offline' | null;
  last_seen?: Millis | null;
}
