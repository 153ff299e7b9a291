/**
 * What is on its way to the server: kept before it is sent, sent in order, forgotten only when answered. A repeat after
 * a cut carries the same `client_msg_id`, so it takes effect once.
 */
import { backoff } from './backoff';
import { Disconnected, Refused } from './errors';
import type { EntryMaking, Sent, ServerFrame } from './frames';
import type { Pending } from './state';
import { aboutOf } from './state/select';
import type { Store } from './store';

/** Sends of one conversation that may be under way at a time. */
const WINDOW = 16;

export interface OutboxOptions {
  store: Store;
  request(frame: EntryMaking): Promise<ServerFrame>;
  onQueued(pending: Pending): void;
  onRefused(pending: Pending, error: Refused): void;
  onDiscarded(clientMsgId: string): void;
  random?: () => number;
}

interface Slot {
  pending: Pending;
  isUnderWay: boolean;
  waiters: { resolve(sent: Sent): void; reject(error: Error): void }[];
}

export class Outbox {
  readonly #slots = new Map<string, Slot>();
  /** Conversations that wait after a temporary refusal, and how often in a row. */
  readonly #held = new Map<string, { tries: number; isOver: boolean; timer: ReturnType<typeof setTimeout> }>();
  #isOpen = false;

  constructor(private readonly options: OutboxOptions) {}

  /** Takes up what an earlier page left. */
  async load(): Promise<void> {
    for (const pending of await this.options.store.loadOutbox()) {
      if (this.#slots.has(pending.client_msg_id)) continue;
      this.#slots.set(pending.client_msg_id, { pending, isUnderWay: false, waiters: [] });
      this.options.onQueued(pending);
    }
  }

  /** Resolves when the server has it; rejects when the server refuses it for good. Survives cuts and reloads between. */
  async submit(frame: EntryMaking): Promise<Sent> {
    const id = frame.client_msg_id;
    const known = this.#slots.get(id);
    const slot = known ?? { pending: { client_msg_id: id, frame, at: Date.now() }, isUnderWay: false, waiters: [] };
    const answer = new Promise<Sent>((resolve, reject) => slot.waiters.push({ resolve, reject }));
    if (!known) {
      this.#slots.set(id, slot);
      this.options.onQueued(slot.pending);
      // Kept first: what the person saw as queued must survive the page. The place in line is taken already.
      slot.isUnderWay = true;
      await this.options.store.addPending(slot.pending).catch(() => undefined);
      slot.isUnderWay = false;
    }
    this.#flush();
    return answer;
  }

  /** The line is up: all that waits goes out, in order. */
  open(): void {
    this.#isOpen = true;
    for (const held of this.#held.values()) clearTimeout(held.timer);
    this.#held.clear();
    this.#flush();
  }

  close(): void {
    this.#isOpen = false;
  }

  async retry(id: string): Promise<void> {
    const slot = this.#slots.get(id);
    if (!slot) return;
    const { refused: _, ...pending } = slot.pending;
    slot.pending = pending;
    await this.options.store.updatePending(pending);
    this.#flush();
  }

  async discard(id: string): Promise<void> {
    this.#slots.delete(id);
    this.options.onDiscarded(id);
    await this.options.store.removePending(id);
  }

  #flush(): void {
    if (!this.#isOpen) return;
    const underWay = new Map<string, number>();
    for (const slot of this.#slots.values()) {
      if (slot.pending.refused) continue;
      const about = aboutOf(slot.pending.frame);
      const count = underWay.get(about) ?? 0;
      // One that may not go yet holds back all behind it.
      if (count >= WINDOW || this.#held.get(about)?.isOver === false) continue;
      underWay.set(about, count + 1);
      if (!slot.isUnderWay) void this.#send(slot, about);
    }
  }

  async #send(slot: Slot, about: string): Promise<void> {
    slot.isUnderWay = true;
    const id = slot.pending.client_msg_id;
    try {
      const answer = (await this.options.request(slot.pending.frame)) as Sent;
      this.#slots.delete(id);
      this.#held.delete(about);
      // Forgetting may be lost with the page: then it is sent again, and answered as a repeat.
      await this.options.store.removePending(id).catch(() => undefined);
      for (const waiter of slot.waiters) waiter.resolve(answer);
    } catch (error) {
      slot.isUnderWay = false;
      if (error instanceof Refused && error.isTemporary) return this.#hold(about, error);
      if (error instanceof Refused) await this.#refuse(slot, error);
      else if (!(error instanceof Disconnected)) throw error;
    }
    this.#flush();
  }

  #hold(about: string, error: Refused): void {
    const before = this.#held.get(about);
    if (before?.isOver === false) return;
    const tries = (before?.tries ?? 0) + 1;
    const waitMs = Math.max(error.retryAfterMs ?? 0, backoff(tries, this.options.random ?? Math.random));
    const timer = setTimeout(() => {
      this.#held.set(about, { tries, isOver: true, timer });
      this.#flush();
    }, waitMs);
    this.#held.set(about, { tries, isOver: false, timer });
  }

  async #refuse(slot: Slot, error: Refused): Promise<void> {
    const refused = { code: error.code, message: error.message };
    slot.pending = { ...slot.pending, refused };
    this.options.onRefused(slot.pending, error);
    for (const waiter of slot.waiters.splice(0)) waiter.reject(error);
    // Only a message is something a person wants to keep; other acts are simply told as refused.
    if (slot.pending.frame.type === 'send') await this.options.store.updatePending(slot.pending);
    else await this.discard(slot.pending.client_msg_id);
  }
}
