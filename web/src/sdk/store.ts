/**
 * What outlives the page: the cached state and the outbox of one user. The contract; `store/indexed_db.ts` keeps it in a
 * browser, `store/memory.ts` for tests and for where nothing may be kept.
 */
import type { Pending, State } from './state';

/** The part of the state worth keeping. One record, so that token and items are of one moment. */
export type Snapshot = Pick<State, 'me' | 'sync' | 'loaded' | 'items' | 'logs' | 'users'>;

export interface Store {
  loadSnapshot(): Promise<Snapshot | null>;
  saveSnapshot(snapshot: Snapshot): Promise<void>;
  /** The outbox in the order added. */
  loadOutbox(): Promise<Pending[]>;
  /** Resolves when the record is kept. Adding a `client_msg_id` again changes nothing. */
  addPending(pending: Pending): Promise<void>;
  updatePending(pending: Pending): Promise<void>;
  removePending(clientMsgId: string): Promise<void>;
  /** Forgets everything: the person logged out. */
  clear(): Promise<void>;
}

const KEPT_LOGS = 40;
const KEPT_ENTRIES = 60;

/** Cut down: the newest entries of the conversations that were active last. */
export function snapshotOf(state: State): Snapshot {
  const recent = Object.entries(state.logs)
    .filter(([, log]) => log.attached && !log.stale)
    .sort(([, one], [, other]) => (other.entries.at(-1)?.at ?? 0) - (one.entries.at(-1)?.at ?? 0))
    .slice(0, KEPT_LOGS)
    .map(([conversation, log]) => [conversation, { ...log, entries: log.entries.slice(-KEPT_ENTRIES) }] as const);
  const { me, sync, loaded, items, users } = state;
  return { me, sync, loaded, items, users, logs: Object.fromEntries(recent) };
}
