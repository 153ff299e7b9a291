/** Made from the Rust types of `tidings-proto` by `npm run types`; not to be changed by hand. */

import type { ConversationId, DeviceId, History, RequestId, Role, Seq, UserId } from './client';

export type Code =
  | 'bad_frame'
  | 'bad_request'
  | 'bad_sync'
  | 'unknown_type'
  | 'unauthenticated'
  | 'payment_declined'
  | 'forbidden'
  | 'blocked'
  | 'not_a_member'
  | 'not_found'
  | 'unknown_user'
  | 'unknown_conversation'
  | 'unknown_entry'
  | 'login_is_elsewhere'
  | 'method_not_allowed'
  | 'conflict'
  | 'too_large'
  | 'rate_limited'
  | 'limit_reached'
  | 'internal'
  | 'unavailable'
  | 'unsupported_version'
  | (string & {});

/** The maxima that `welcome` tells, and that a deployment may set. */
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
  user: UserId;
  device: DeviceId;
  session: string;
  /** The account as it stands now. A client that resumed gets what differs in the `changes` behind this frame. */
  sync: string;
  /** Address of the node where this user's conversations are, if it is another one. */
  prefer: string | null;
  heartbeat_s: number;
  limits: Limits;
  features: string[];
}

/** The answer to all that makes an entry: it is durable now. */
export interface Sent {
  re: RequestId | null;
  conversation: ConversationId;
  seq: Seq;
  at: number;
  repeat?: boolean;
}

/** An entry as it happens. */
export interface LiveEntry extends Entry {
  conversation: ConversationId;
}

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
export interface Entry extends Partial<More> {
  seq: Seq;
  kind: Kind;
  from?: UserId;
  at?: number;
  client_msg_id?: string;
  text?: string;
}

/** The less frequent fields of an entry, kept apart so that a plain message stays small in memory. */
export interface More {
  mentions?: string[];
  reply_to?: Seq;
  attachments?: string[];
  data?: Record<string, unknown>;
  /** A preview whose text was cut. */
  cut?: boolean;
  edited_seq?: Seq;
  redacted?: Redacted;
  reactions?: Reaction[];
  target?: Seq;
  emoji?: string;
  on?: boolean;
  add?: UserId[];
  remove?: UserId[];
  roles?: Record<UserId, Role>;
  name?: string;
}

export interface Redacted {
  seq: Seq;
  by: UserId;
  at: number;
}

export interface Reaction {
  emoji: string;
  count: number;
  /** Whether the reader is one of them. */
  mine: boolean;
}

/** History: of one conversation, or `ranges` in the order asked. */
export interface Entries extends Partial<EntriesPage> {
  re: RequestId | null;
  ranges?: RangeAnswer[];
  /** Not all ranges were answered, because of the answer's size: ask again for the rest. */
  more?: boolean;
}

export interface EntriesPage {
  conversation: ConversationId;
  /** Ascending. */
  entries: Entry[];
  /** What the reader may see at all. */
  first_seq: Seq;
  last_seq: Seq;
}

export type RangeAnswer =
  | EntriesPage
  | { conversation: ConversationId; code: Code; message: string };

/** A page of the inbox. Keep the first page's `sync`. */
export interface InboxPage {
  re: RequestId | null;
  items: Item[];
  next: string | null;
  sync: string;
}

/** What differs since a sync token; without `re` also told of one's own accord. */
export interface Changes {
  re?: RequestId;
  items: Item[];
  /** Conversations that are no longer the user's. */
  removed: ConversationId[];
  sync: string;
  more: boolean;
  full: boolean;
}

export type ConversationKind =
  | 'direct'
  | 'group'
  | 'list'
  | 'system';

/** One conversation in a user's inbox. */
export interface Item extends Who {
  conversation: ConversationId;
  kind: ConversationKind;
  /** The newest entry of kind message, tip, members or rename, folded, its text cut at 200 characters. */
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

/** Whom the conversation is with: one person, or a group. */
export interface Who extends Partial<{ with: UserId; with_name: string | null; with_picture: string | null; peer: Peer } & { name: string; picture: string | null; member_count: number; role: Role }> {}

/** How far the other one of a direct conversation is. */
export interface Peer {
  delivered_seq: Seq;
  read_seq: Seq;
}

export interface Receipt {
  conversation: ConversationId;
  user: UserId;
  delivered_seq: Seq;
  read_seq: Seq;
}

export interface Typing {
  conversation: ConversationId;
  user: UserId;
}

export type PresenceState =
  | 'online'
  | 'offline';

export interface Presence {
  user: UserId;
  state: PresenceState;
  /** Unix milliseconds, coarse. Absent where it is not known or not for the asker to know. */
  last_seen: number | null;
}

export interface Answered {
  re: RequestId | null;
}

export interface Refusal {
  re: RequestId | null;
  code: Code;
  /** What to do. */
  message: string;
  retry_after_ms: number | null;
  /** With `unknown_user`: which ones. */
  users?: UserId[];
  login_url?: string;
}

export interface Move {
  after_ms: number;
}

export interface Expiring {
  in_s: number;
}

/** Where a transport has no close code of its own. */
export interface Close {
  code: number;
  reason: string;
}

export interface Beat {
  re?: RequestId;
}

/** A conversation as `GET /v1/conversations/{id}` tells it: the item, and who is in it. */
export interface ConversationDetails extends Item {
  history: History;
  /** Up to 64 members with their receipts; of a larger conversation use `…/members`. */
  members: Member[];
}

export interface Member {
  user: UserId;
  role: Role;
  delivered_seq?: Seq;
  read_seq?: Seq;
}

export interface MembersPage {
  members: Member[];
  next: string | null;
}

export interface UserProfile {
  user: UserId;
  name: string | null;
  picture: string | null;
  presence?: PresenceState;
  last_seen?: number;
}

export interface Device {
  device: DeviceId;
  /** What the user calls it. */
  name: string | null;
  /** What it says that it is. */
  platform: string | null;
  last_seen: number | null;
  connected: boolean;
}

/** The problem document of a refused HTTP call (RFC 9457). */
export interface Problem {
  code: Code;
  title: string;
  detail: string;
  status: number;
  users?: UserId[];
  login_url?: string;
}

export type Frame =
  | ({ type: 'welcome' } & Welcome)
  | ({ type: 'sent' } & Sent)
  | ({ type: 'created' } & Sent)
  | ({ type: 'entry' } & LiveEntry)
  | ({ type: 'entries' } & Entries)
  | ({ type: 'inbox' } & InboxPage)
  | ({ type: 'changes' } & Changes)
  | ({ type: 'receipt' } & Receipt)
  | ({ type: 'typing' } & Typing)
  | ({ type: 'presence' } & Presence)
  | ({ type: 'ok' } & Answered)
  | ({ type: 'error' } & Refusal)
  | ({ type: 'move' } & Move)
  | ({ type: 'expiring' } & Expiring)
  | ({ type: 'close' } & Close)
  | ({ type: 'ping' } & Beat)
  | ({ type: 'pong' } & Beat);
