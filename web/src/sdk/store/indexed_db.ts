/** The store in a browser: one IndexedDB database a user. */
import { type DBSchema, type IDBPDatabase, openDB } from 'idb';
import type { Pending } from '../state';
import type { Snapshot, Store } from '../store';

interface Schema extends DBSchema {
  snapshot: { key: 'snapshot'; value: Snapshot };
  /** The key counts up: it is the order of sending. */
  outbox: { key: number; value: Pending; indexes: { client_msg_id: string } };
}

const VERSION = 1;

export async function openIndexedDb(name: string): Promise<Store> {
  const db = await openDB<Schema>(name, VERSION, {
    upgrade(db) {
      db.createObjectStore('snapshot');
      db.createObjectStore('outbox', { autoIncrement: true }).createIndex('client_msg_id', 'client_msg_id', {
        unique: true,
      });
    },
  });
  return new IndexedDbStore(db);
}

class IndexedDbStore implements Store {
  constructor(private readonly db: IDBPDatabase<Schema>) {}

  async loadSnapshot(): Promise<Snapshot | null> {
    return (await this.db.get('snapshot', 'snapshot')) ?? null;
  }

  async saveSnapshot(snapshot: Snapshot): Promise<void> {
    await this.db.put('snapshot', snapshot, 'snapshot');
  }

  async loadOutbox(): Promise<Pending[]> {
    return this.db.getAll('outbox');
  }

  async addPending(pending: Pending): Promise<void> {
    const transaction = this.db.transaction('outbox', 'readwrite');
    const known = await transaction.store.index('client_msg_id').getKey(pending.client_msg_id);
    if (known === undefined) await transaction.store.add(pending);
    await transaction.done;
  }

  async updatePending(pending: Pending): Promise<void> {
    const transaction = this.db.transaction('outbox', 'readwrite');
    const key = await transaction.store.index('client_msg_id').getKey(pending.client_msg_id);
    if (key !== undefined) await transaction.store.put(pending, key);
    await transaction.done;
  }

  async removePending(clientMsgId: string): Promise<void> {
    const transaction = this.db.transaction('outbox', 'readwrite');
    const key = await transaction.store.index('client_msg_id').getKey(clientMsgId);
    if (key !== undefined) await transaction.store.delete(key);
    await transaction.done;
  }

  async clear(): Promise<void> {
    await Promise.all([this.db.clear('snapshot'), this.db.clear('outbox')]);
  }
}
