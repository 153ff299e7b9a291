/**
 * The one in charge of a user's connection: in the leading tab. Feeds frames into the state, and does what the state
 * asks for: fills gaps, asks what changed, says what was received and read, keeps a snapshot.
 */
import { Connection, type ConnectionOptions } from './connection';
import { Disconnected, Refused } from './errors';
import type { Changes, ClientFrame, ConversationId, EntryMaking, Hello, Item, Seq, ServerFrame } from './frames';
import { Outbox } from './outbox';
import type { Event, State, Status } from './state';
import { gaps } from './state/select';
import { type Store, snapshotOf } from './store';

/** What a tab asks of the engine. All of them may be asked again when the leader went before it answered. */
export type Command =
  | { op: 'submit'; frame: EntryMaking }
  | { op: 'request'; frame: ClientFrame }
  | { op: 'tell'; frame: ClientFrame }
  | { op: 'read'; conversation: ConversationId; seq: Seq }
  | { op: 'watch'; tab: string; users: readonly string[] }
  | { op: 'retry'; client_msg_id: string }
  | { op: 'discard'; client_msg_id: string }
  | { op: 'reconnect' }
  | { op: 'note'; event: Event };

export interface EngineOptions extends Pick<ConnectionOptions, 'transports' | 'network' | 'random'> {
  store: Store;
  /** Who says hello; the sync token is added. */
  hello: Omit<Hello, 'type' | 'sync' | 'tail'>;
  /** A new token in place of one that ends soon. */
  renewToken(): Promise<string>;
  state(): State;
  /** Applies the event to the state, here and in the other tabs. */
  publish(event: Event): void;
}

/** Newest entries that come with each conversation that changed while away. */
const TAIL = 10;
const ACK_EVERY_MS = 1_000;
const SAVE_AFTER_MS = 1_000;
/** A token this old would repeat much on the next resume: a new one is asked for. */
const RENEW_SYNC_MS = 5 * 60_000;
/** Where the server has not said otherwise; and what the request's id adds. */
const FRAME_BYTES = 65_536;
const ID_BYTES = 32;
/** Windows held at a time; the one used longest ago is let go. */
const MOST_LOGS = 80;

export class Engine {
  readonly #connection: Connection;
  readonly #outbox: Outbox;
  readonly #reads = new Map<ConversationId, Seq>();
  readonly #acks = new Map<ConversationId, Seq>();
  readonly #watched = new Map<string, readonly string[]>();
  readonly #fetching = new Set<ConversationId>();
  readonly #usedAt = new Map<ConversationId, number>();
  #isSyncing = false;
  #isTidying = false;
  #saveTimer: ReturnType<typeof setTimeout> | null = null;
  #ackTimer: ReturnType<typeof setTimeout> | null = null;
  #renewTimer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly options: EngineOptions) {
    const { publish, store, transports, network, random } = options;
    this.#connection = new Connection({
      transports,
      network,
      random,
      hello: () => this.#hello(),
      onFrame: (frame, request) => this.#onFrame(frame, request),
      onStatus: status => this.#onStatus(status),
    });
    this.#outbox = new Outbox({
      store,
      random,
      request: frame => this.#make(frame),
      onQueued: pending => publish({ type: 'queued', pending }),
      onRefused: ({ client_msg_id }, { code, message }) => publish({ type: 'refused', client_msg_id, code, message }),
      onDiscarded: client_msg_id => publish({ type: 'discarded', client_msg_id }),
    });
  }

  async start(): Promise<void> {
    await this.#outbox.load();
    this.#connection.start();
    this.#renewTimer = setInterval(() => void this.#sync(), RENEW_SYNC_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#renewTimer);
    if (this.#ackTimer !== null) clearTimeout(this.#ackTimer);
    this.#connection.stop();
    this.#outbox.close();
    await this.save();
  }

  /** Keeps the state now; otherwise it happens a little after each change. */
  async save(): Promise<void> {
    if (this.#saveTimer !== null) clearTimeout(this.#saveTimer);
    this.#saveTimer = null;
    // A browser that is out of space still works, it only starts colder.
    await this.options.store.saveSnapshot(snapshotOf(this.options.state())).catch(() => undefined);
  }

  async perform(command: Command): Promise<unknown> {
    switch (command.op) {
      case 'submit':
        return this.#outbox.submit(command.frame);
      case 'request':
        return this.#request(command.frame);
      case 'tell':
        return this.#connection.tell(command.frame);
      case 'read':
        return this.#read(command.conversation, command.seq);
      case 'watch':
        return this.#watch(command.tab, command.users);
      case 'retry':
        this.options.publish({ type: 'retried', client_msg_id: command.client_msg_id });
        return this.#outbox.retry(command.client_msg_id);
      case 'discard':
        return this.#outbox.discard(command.client_msg_id);
      case 'reconnect':
        return this.#connection.retryNow();
      case 'note':
        return this.options.publish(command.event);
    }
  }

  // -------------------------------------------------------------- the line

  #hello(): Hello {
    const { sync } = this.options.state();
    const hello: Hello = { type: 'hello', ...this.options.hello };
    return sync === null ? hello : { ...hello, sync, tail: TAIL };
  }

  #onStatus(status: Status): void {
    this.options.publish({ type: 'status', status });
    if (status.phase !== 'ready') this.#outbox.close();
  }

  #onFrame(frame: ServerFrame, request?: ClientFrame): void {
    this.options.publish({ type: 'frame', frame, request, at: Date.now() });
    if (frame.type === 'welcome') queueMicrotask(() => this.#onReady());
    if (frame.type === 'entry' && frame.from !== this.options.state().me) this.#ack(frame.conversation, frame.seq);
    if (frame.type === 'changes') this.#onChanges(frame, request);
    if (frame.type === 'expiring') void this.#renewToken();
    this.#tidy();
  }

  #onReady(): void {
    this.#outbox.open();
    for (const [conversation, seq] of this.#reads) void this.#read(conversation, seq);
    this.#tellWatched();
    if (this.options.state().sync === null) void this.#sync();
  }

  #onChanges(frame: Changes, request: ClientFrame | undefined): void {
    for (const item of frame.items) if (isUnacked(item)) this.#ack(item.conversation, item.last_seq);
    if (request?.type === 'hello' && frame.more) void this.#sync();
  }

  /** A frame above the limit would cost the line, again and again: it is refused here. */
  #make(frame: EntryMaking): Promise<ServerFrame> {
    const most = (this.options.state().limits.frame_bytes ?? FRAME_BYTES) - ID_BYTES;
    if (new TextEncoder().encode(JSON.stringify(frame)).length <= most) return this.#connection.request(frame);
    return Promise.reject(new Refused('too_large', 'it takes too many bytes on the way; send it in parts'));
  }

  /** If it comes to nothing the server closes the line, and the next `hello` shows a new token. */
  async #renewToken(): Promise<void> {
    try {
      await this.#connection.request({ type: 'auth', token: await this.options.renewToken() });
    } catch (error) {
      if (!(error instanceof Disconnected)) console.warn('failed to renew the token:', error);
    }
  }

  async #request(frame: ClientFrame): Promise<ServerFrame> {
    if (frame.type === 'fetch' && frame.conversation !== undefined) this.#usedAt.set(frame.conversation, Date.now());
    return this.#connection.request(frame);
  }

  /** Asks what changed until there is no more of it. Without a token: everything. */
  async #sync(): Promise<void> {
    if (this.#isSyncing || !this.#connection.isReady) return;
    this.#isSyncing = true;
    try {
      for (let more = true; more; ) {
        const { sync } = this.options.state();
        this.options.publish({ type: 'asked_sync' });
        const request: ClientFrame = sync === null ? { type: 'sync' } : { type: 'sync', sync, tail: TAIL };
        const answer = await this.#connection.request(request);
        more = answer.type === 'changes' && answer.more;
      }
    } catch (error) {
      if (!(error instanceof Disconnected)) console.warn('failed to sync:', error);
    } finally {
      this.#isSyncing = false;
    }
  }

  // -------------------------------------------------------------- what the state asks for

  /** Coalesced: many frames of one turn are looked at once. */
  #tidy(): void {
    if (this.#isTidying) return;
    this.#isTidying = true;
    queueMicrotask(() => {
      this.#isTidying = false;
      if (this.options.state().wants_sync) void this.#sync();
      void this.#fillGaps();
      this.#letGo();
      this.#saveTimer ??= setTimeout(() => void this.save(), SAVE_AFTER_MS);
    });
  }

  async #fillGaps(): Promise<void> {
    if (!this.#connection.isReady) return;
    const { fill, restart } = gaps(this.options.state());
    const ranges = [...fill, ...restart.map(conversation => ({ conversation, limit: 50 }))].filter(
      range => !this.#fetching.has(range.conversation),
    );
    if (ranges.length === 0) return;
    for (const conversation of restart) this.options.publish({ type: 'forgot_log', conversation });
    for (const range of ranges) this.#fetching.add(range.conversation);
    try {
      await this.#connection.request({ type: 'fetch', ranges });
    } catch (error) {
      if (!(error instanceof Disconnected)) console.warn('failed to fill a gap:', error);
    } finally {
      for (const range of ranges) this.#fetching.delete(range.conversation);
    }
    this.#tidy();
  }

  #letGo(): void {
    const held = Object.keys(this.options.state().logs);
    if (held.length <= MOST_LOGS) return;
    held.sort((one, other) => (this.#usedAt.get(one) ?? 0) - (this.#usedAt.get(other) ?? 0));
    for (const conversation of held.slice(0, held.length - MOST_LOGS)) {
      this.options.publish({ type: 'forgot_log', conversation });
    }
  }

  // -------------------------------------------------------------- registers: received, read, watched

  #ack(conversation: ConversationId, seq: Seq): void {
    this.#acks.set(conversation, Math.max(seq, this.#acks.get(conversation) ?? 0));
    this.#ackTimer ??= setTimeout(() => {
      this.#ackTimer = null;
      for (const [about, upTo] of this.#acks) {
        this.#connection.tell({ type: 'ack', conversation: about, seq: upTo });
      }
      this.#acks.clear();
    }, ACK_EVERY_MS);
  }

  /** Shown at once; told to the server until it has it. */
  async #read(conversation: ConversationId, seq: Seq): Promise<void> {
    this.options.publish({ type: 'read', conversation, seq });
    this.#reads.set(conversation, Math.max(seq, this.#reads.get(conversation) ?? 0));
    this.#tidy();
    try {
      await this.#connection.request({ type: 'mark_read', conversation, seq });
      if (this.#reads.get(conversation) === seq) this.#reads.delete(conversation);
    } catch (error) {
      // Refused: it will not be taken later either.
      if (!(error instanceof Disconnected)) this.#reads.delete(conversation);
    }
  }

  #watch(tab: string, users: readonly string[]): void {
    if (users.length > 0) this.#watched.set(tab, users);
    else this.#watched.delete(tab);
    this.#tellWatched();
  }

  #tellWatched(): void {
    const most = this.options.state().limits.watch_users ?? 500;
    const users = [...new Set([...this.#watched.values()].flat())].slice(0, most);
    this.#connection.tell({ type: 'watch', users });
  }
}

const isUnacked = (item: Item): boolean => item.unread > 0 && item.last_seq > item.read_seq;
