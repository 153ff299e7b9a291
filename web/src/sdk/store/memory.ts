/** A store that lives as long as the object: for tests, Node, and browsers that refuse IndexedDB. */
import type { Pending } from '../state';
import type { Snapshot, Store } from '../store';

export class MemoryStore implements Store {
  #snapshot: Snapshot | null = null;
  readonly #outbox = new Map<string, Pending>();

  async loadSnapshot(): Promise<Snapshot | null> {
    return this.#snapshot;
  }

  async saveSnapshot(snapshot: Snapshot): Promise<void> {
    this.#snapshot = snapshot;
  }

  async loadOutbox(): Promise<Pending[]> {
    return [...this.#outbox.values()];
  }

  async addPending(pending: Pending): Promise<void> {
    if (!this.#outbox.has(pending.client_msg_id)) this.#outbox.set(pending.client_msg_id, pending);
  }

  async updatePending(pending: Pending): Promise<void> {
    if (this.#outbox.has(pending.client_msg_id)) this.#outbox.set(pending.client_msg_id, pending);
  }

  async removePending(clientMsgId: string): Promise<void> {
    this.#outbox.delete(clientMsgId);
  }

  async clear(): Promise<void> {
    this.#snapshot = null;
    this.#outbox.clear();
  }
}
