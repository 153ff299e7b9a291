/** Made from the Rust types of `tidings-proto` by `npm run types`; not to be changed by hand. */

export type UserId = string;
export type ConversationId = string;
export type DeviceId = string;
/** The place of an entry in its conversation: 1, 2, 3 …, dense, given by the server. */
export type Seq = number;
/** A request's name for its answer. */
export type RequestId = number | string;

/** Opens a session: `username` in open mode, `token` where a login service gives one. */
export interface Hello {
  type: 'hello';
  username?: string;
  token?: string;
  device?: DeviceId;
  /** Resume: what differs since this token comes first, as `changes`. */
  sync?: string;
  /** With `sync`: so many of each changed conversation's newest entries come with it. */
  tail?: number;
}

/** Renews the token of a living connection. */
export interface Auth {
  type: 'auth';
  token: string;
}

/** Where a message goes: exactly one of a user, a conversation, a list. */
export type To =
  | { user: UserId }
  | { conversation: ConversationId }
  | { list: string };

export interface Send {
  type: 'send';
  to: To;
  client_msg_id: string;
  text?: string;
  mentions?: string[];
  reply_to?: Seq;
  attachments?: string[];
  /** A JSON object of the client's own, kept as it came. */
  data?: Record<string, unknown>;
}

/** History of one conversation, or of many by `ranges`. */
export interface Fetch extends Page {
  type: 'fetch';
  conversation?: ConversationId;
  ranges?: Range[];
}

/** Which entries: `before` and `after` exclusive, `around` inclusive, none of them: the newest. At most one of the three. */
export interface Page {
  before?: Seq;
  after?: Seq;
  around?: Seq;
  limit?: number;
}

export interface Range extends Page {
  conversation: ConversationId;
}

export interface Inbox {
  type: 'inbox';
  limit?: number;
  cursor?: string;
  tail?: number;
}

export interface Sync {
  type: 'sync';
  /** Absent: the whole inbox. */
  sync?: string;
  tail?: number;
}

export interface MarkRead {
  type: 'mark_read';
  conversation: ConversationId;
  seq: Seq;
}

export interface Ack {
  type: 'ack';
  conversation: ConversationId;
  seq: Seq;
}

export interface Typing {
  type: 'typing';
  conversation: ConversationId;
}

/** Whose presence to tell: replaces the set. */
export interface Watch {
  type: 'watch';
  users: UserId[];
}

/** What those who join see of the time before. */
export type History =
  | 'all'
  | 'joined';

export interface Create {
  type: 'create';
  client_msg_id: string;
  name: string;
  members?: UserId[];
  history?: History;
}

export type Role =
  | 'member'
  | 'admin'
  | 'owner';

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

export interface Block {
  type: 'block';
  user: UserId;
}

export interface Unblock {
  type: 'unblock';
  user: UserId;
}

/** This user's own settings of a conversation. What is absent stays. */
export interface Set {
  type: 'set';
  conversation: ConversationId;
  muted?: boolean;
  pinned?: boolean;
  archived?: boolean;
}

/** Who may see whether a user is online. */
export type PresenceAudience =
  | 'everyone'
  | 'contacts'
  | 'nobody';

/** One's own profile. What is absent stays; an empty string removes. */
export interface Profile {
  type: 'profile';
  name?: string;
  picture?: string;
  presence?: PresenceAudience;
}

/** How one of one's own devices is shown in the list of them. What is absent stays; an empty string removes. */
export interface Device {
  type: 'device';
  /** Absent: the device that says it. */
  device?: DeviceId;
  name?: string;
  /** What it is, such as "Firefox on Linux". */
  platform?: string;
}

export interface Ping {
  type: 'ping';
}

export interface Pong {
  type: 'pong';
}

export type Command =
  | Hello
  | Auth
  | Send
  | Fetch
  | Inbox
  | Sync
  | MarkRead
  | Ack
  | Typing
  | Watch
  | Create
  | Members
  | Leave
  | Rename
  | Edit
  | Redact
  | React
  | Block
  | Unblock
  | Set
  | Profile
  | Device
  | Ping
  | Pong;
