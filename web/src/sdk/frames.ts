/**
 * The frames of protocol version 1, as the rest of the SDK names them. The types themselves are made from the Rust
 * sources (`wire/`, by `npm run types`); here they are put together, and nothing is said twice.
 */
import type * as client from './wire/client';
import type * as server from './wire/server';

export type { ConversationId, DeviceId, Page, Range, RequestId, Role, Seq, To, UserId } from './wire/client';
export type {
  Code,
  ConversationDetails,
  Device,
  EntriesPage,
  Entry,
  Item,
  Kind,
  Limits,
  Member,
  MembersPage,
  RangeAnswer,
  Reaction,
  UserProfile,
} from './wire/server';

/** Unix milliseconds, for people. Order is `seq`. */
export type Millis = number;

// ---------------------------------------------------------------- what a client says

export type Hello = client.Hello;
export type Send = client.Send;
export type Create = client.Create;
export type Members = client.Members;
export type Rename = client.Rename;
export type Edit = client.Edit;
export type Redact = client.Redact;
export type React = client.React;
export type Settings = Omit<client.Set, 'type' | 'conversation'>;
export type ClientFrame = client.Command;

/** All that makes an entry. It carries a `client_msg_id`, so that a repeat is answered as the first was. */
export type EntryMaking = Extract<ClientFrame, { client_msg_id: string }>;

/** A frame as it goes out: with an `id` it gets exactly one answer, whose `re` is that id. */
export type Outgoing = ClientFrame & { id?: client.RequestId };

// ---------------------------------------------------------------- what a client is told

type Told<T extends server.Frame['type']> = Extract<server.Frame, { type: T }>;

/** A server of another version, or a transport without a welcome, tells fewer limits. */
export type Welcome = Omit<Told<'welcome'>, 'limits'> & { limits: Partial<server.Limits> };
/** The answer to all that makes an entry: it is durable now. */
export type Sent = Told<'sent'> | Told<'created'>;
export type Entries = Told<'entries'>;
export type Changes = Told<'changes'>;
export type Refusal = Told<'error'>;
export type Presence = Told<'presence'>;
export type Receipt = Told<'receipt'>;
export type ServerFrame = Exclude<server.Frame, { type: 'welcome' }> | Welcome;
