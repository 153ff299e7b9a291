/**
 * `@tidings/client`: a Tidings client without a framework. `Client` is the face; `State` is what to show; the frames are
 * the wire's.
 */
export { Client, type ClientOptions } from './client';
export { Disconnected, Refused } from './errors';
export type * from './frames';
export type { TokenSource } from './http';
export { randomId } from './ids';
export { type Event, initialState, type Pending, reduce, type State, type Status } from './state';
export { find, firstSeq, type Log, type LogEntry, lastSeq } from './state/log';
export { own } from './state/record';
export * from './state/select';
export type { Snapshot, Store } from './store';
export { openIndexedDb } from './store/indexed_db';
export { MemoryStore } from './store/memory';
export type { Transport } from './transport';
