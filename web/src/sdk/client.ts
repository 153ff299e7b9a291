/**
 * The SDK's face: one `Client` a tab. Reads come from `state`; every act is a method that resolves when the server has
 * it. What makes an entry is kept until then, over cuts and reloads.
 */
import type { Network } from './connection';
import { type Command, Engine } from './engine';
import { Refused } from './errors';
import type {
  ClientFrame,
  ConversationDetails,
  ConversationId,
  Device,
  DeviceId,
  Edit,
  EntryMaking,
  Members,
  MembersPage,
  Page,
  React,
  Send,
  Sent,
  Seq,
  Settings,
  UserId,
  UserProfile,
} from './frames';
import { Http, type TokenSource } from './http';
import { randomId } from './ids';
import { browserNetwork, browserStore } from './platform';
import { type Event, initialState, reduce, type State } from './state';
import { own } from './state/record';
import type { Place } from './state/select';
import type { Store } from './store';
import { browserTabs, Tabs, type TabsPlatform } from './tabs';
import type { Transport } from './transport';
import { longPollTransport } from './transport/long_poll';
import { sseTransport } from './transport/sse';
import { webSocketTransport } from './transport/websocket';

export interface ClientOptions {
  /** The server's address, as `https://chat.example`. */
  url: string;
  username: UserId;
  /** Where a login service gives tokens; without it the server must be in open mode. */
  token?: TokenSource;
  /** This installation's name, kept by the caller; a user may have many. */
  device: string;
  transports?: readonly Transport[];
  store?: Store;
  network?: Network;
  tabs?: TabsPlatform;
  random?: () => number;
}

type Distribute<T> = T extends unknown ? Omit<T, 'type' | 'client_msg_id'> : never;

export class Client {
  #state: State;
  readonly #listeners = new Set<() => void>();
  readonly #tabs: Tabs;
  readonly http: Http;
  #engine: Engine | null = null;

  /** Resolves with the kept state at once, also without a network; the connection comes up behind it. */
  static async open(options: ClientOptions): Promise<Client> {
    const store = options.store ?? (await browserStore(`tidings:${options.username}`));
    const client = new Client(options, store);
    await client.#tabs.ready;
    return client;
  }

  private constructor(
    private readonly options: ClientOptions,
    private readonly store: Store,
  ) {
    const { username, token, device } = options;
    this.#state = initialState(username);
    this.http = new Http(options.url, { username, token, device });
    this.#tabs = new Tabs(`tidings:${username}`, options.tabs ?? browserTabs(), {
      onLead: () => this.#lead(),
      onEvent: event => this.#apply(event),
      perform: command => this.#perform(command),
      state: () => this.#state,
    });
  }

  get state(): State {
    return this.#state;
  }

  /** Calls `listener` after every change of `state`. Returns how to stop. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // -------------------------------------------------------------- acts that make an entry

  /** Resolves when the message is durable. Offline it waits in the outbox, over reloads too. */
  send(to: Place, text: string, more: Pick<Send, 'mentions' | 'reply_to'> = {}): Promise<Sent> {
    return this.#submit({ type: 'send', to, text, client_msg_id: randomId('c-'), ...more });
  }

  edit(edit: Distribute<Edit>): Promise<Sent> {
    return this.#submit({ type: 'edit', client_msg_id: randomId('c-'), ...edit });
  }

  redact(conversation: ConversationId, seq: Seq): Promise<Sent> {
    return this.#submit({ type: 'redact', client_msg_id: randomId('c-'), conversation, seq });
  }

  react(react: Distribute<React>): Promise<Sent> {
    return this.#submit({ type: 'react', client_msg_id: randomId('c-'), ...react });
  }

  /** Makes a group with this user as its owner. */
  createGroup(name: string, members: UserId[]): Promise<Sent> {
    return this.#submit({ type: 'create', client_msg_id: randomId('c-'), name, members, history: 'all' });
  }

  changeMembers(change: Distribute<Members>): Promise<Sent> {
    return this.#submit({ type: 'members', client_msg_id: randomId('c-'), ...change });
  }

  leave(conversation: ConversationId): Promise<Sent> {
    return this.#submit({ type: 'leave', client_msg_id: randomId('c-'), conversation });
  }

  rename(conversation: ConversationId, name: string): Promise<Sent> {
    return this.#submit({ type: 'rename', client_msg_id: randomId('c-'), conversation, name });
  }

  /** Tries a refused message again, under the same `client_msg_id`. */
  async retry(clientMsgId: string): Promise<void> {
    await this.#tabs.perform({ op: 'retry', client_msg_id: clientMsgId });
  }

  async discard(clientMsgId: string): Promise<void> {
    await this.#tabs.perform({ op: 'discard', client_msg_id: clientMsgId });
  }

  // -------------------------------------------------------------- history and registers

  /** Loads a page into the conversation's window: older, newer, around a place, or the newest. */
  async fetch(conversation: ConversationId, page: Page): Promise<void> {
    await this.#request({ type: 'fetch', conversation, limit: 50, ...page });
  }

  async markRead(conversation: ConversationId, seq: Seq): Promise<void> {
    await this.#tabs.perform({ op: 'read', conversation, seq });
  }

  typing(conversation: ConversationId): void {
    void this.#tabs.perform({ op: 'tell', frame: { type: 'typing', conversation } });
  }

  /** Whose presence this tab shows; replaces what it asked for before. */
  watch(users: readonly UserId[]): void {
    void this.#tabs.perform({ op: 'watch', tab: this.#tabs.id, users });
  }

  async configure(conversation: ConversationId, settings: Settings): Promise<void> {
    const held = this.#state.items[conversation];
    await this.#change(conversation, settings);
    try {
      await this.#request({ type: 'set', conversation, ...settings });
    } catch (error) {
      if (held) await this.#change(conversation, pick(held, settings));
      throw error;
    }
  }

  async block(user: UserId, isBlocked: boolean): Promise<void> {
    await this.#request({ type: isBlocked ? 'block' : 'unblock', user });
    const item = Object.values(this.#state.items).find(each => each.with === user);
    if (item) await this.#change(item.conversation, { blocked: isBlocked });
  }

  async setProfile(name: string): Promise<void> {
    await this.#request({ type: 'profile', name });
    await this.#note({
      type: 'users',
      users: [{ picture: null, ...own(this.#state.users, this.#state.me), user: this.#state.me, name }],
    });
  }

  // -------------------------------------------------------------- people, over HTTP

  /** Null: there is no such user. */
  async lookUp(user: UserId): Promise<UserProfile | null> {
    try {
      const profile = await this.http.get<UserProfile>(`/v1/users/${encodeURIComponent(user)}`);
      await this.#note({ type: 'users', users: [profile] });
      return profile;
    } catch (error) {
      if (error instanceof Refused && error.code === 'unknown_user') return null;
      throw error;
    }
  }

  /** Who is meant by a name as a person types it: in small letters too, as usernames are in most places. */
  async findUser(typed: string): Promise<UserProfile | null> {
    const small = typed.toLowerCase();
    return (await this.lookUp(typed)) ?? (small === typed ? null : await this.lookUp(small));
  }

  /** Learns the names of up to 100 users at once. */
  async lookUpAll(users: readonly UserId[]): Promise<void> {
    const ids = users.slice(0, 100).map(encodeURIComponent).join(',');
    const { users: found } = await this.http.get<{ users: UserProfile[] }>(`/v1/users?ids=${ids}`);
    await this.#note({ type: 'users', users: found });
  }

  /** Learns up to 64 members with their receipts. */
  async loadMembers(conversation: ConversationId): Promise<void> {
    const details = await this.http.get<ConversationDetails>(`/v1/conversations/${conversation}`);
    await this.#note({ type: 'members', conversation, members: details.members });
  }

  /** The next members of a large group, with their names, and where to go on. */
  async membersPage(conversation: ConversationId, cursor: string | null): Promise<MembersPage> {
    const query = cursor === null ? '' : `?cursor=${encodeURIComponent(cursor)}`;
    const page = await this.http.get<MembersPage>(`/v1/conversations/${conversation}/members${query}`);
    const nameless = page.members.map(member => member.user).filter(user => !own(this.#state.users, user));
    for (let at = 0; at < nameless.length; at += 100) await this.lookUpAll(nameless.slice(at, at + 100));
    return page;
  }

  // -------------------------------------------------------------- one's own devices, over HTTP

  /** The one that this client is. */
  get device(): DeviceId {
    return this.options.device;
  }

  async devices(): Promise<Device[]> {
    return (await this.http.get<{ devices: Device[] }>('/v1/me/devices')).devices;
  }

  /** What is absent stays; an empty text removes. */
  changeDevice(device: DeviceId, shown: { name?: string; platform?: string }): Promise<Device> {
    return this.http.patch<Device>(`/v1/me/devices/${encodeURIComponent(device)}`, shown);
  }

  /** Ends its connections, and its tokens are worth nothing from then on. */
  revokeDevice(device: DeviceId): Promise<void> {
    return this.http.delete(`/v1/me/devices/${encodeURIComponent(device)}`);
  }

  // -------------------------------------------------------------- life

  /** Tries to connect now instead of when the wait is over. */
  reconnect(): void {
    void this.#tabs.perform({ op: 'reconnect' });
  }

  /** Keeps the state now: the page may be about to go. */
  async save(): Promise<void> {
    await this.#engine?.save();
  }

  async close(): Promise<void> {
    await this.#engine?.stop();
    this.#engine = null;
    this.#tabs.close();
  }

  /** Ends, and forgets all that was kept on this device. */
  async logOut(): Promise<void> {
    await this.close();
    await this.store.clear();
  }

  // -------------------------------------------------------------- inside

  #submit(frame: EntryMaking): Promise<Sent> {
    return this.#tabs.perform({ op: 'submit', frame }) as Promise<Sent>;
  }

  #request(frame: ClientFrame): Promise<unknown> {
    return this.#tabs.perform({ op: 'request', frame });
  }

  async #note(event: Event): Promise<void> {
    await this.#tabs.perform({ op: 'note', event });
  }

  #change(conversation: ConversationId, settings: Settings & { blocked?: boolean }): Promise<void> {
    return this.#note({ type: 'changed', conversation, settings });
  }

  async #lead(): Promise<void> {
    const { username, device } = this.options;
    // A tab that followed until now has a newer state than what was kept.
    if (!this.#state.loaded) {
      const kept = await this.store.loadSnapshot().catch(() => null);
      if (kept?.me === username) this.#apply({ type: 'replaced', state: { ...this.#state, ...kept } });
    }
    // The kept outbox is the true one; the engine queues it anew.
    this.#apply({ type: 'replaced', state: { ...this.#state, outbox: [] } });
    this.#engine = new Engine({
      store: this.store,
      hello: { username, device },
      renewToken: async () => this.http.token(await this.http.token()),
      transports: this.options.transports ?? [
        webSocketTransport(this.http),
        sseTransport(this.http),
        longPollTransport(this.http),
      ],
      network: this.options.network ?? browserNetwork(),
      random: this.options.random,
      state: () => this.#state,
      publish: event => {
        this.#apply(event);
        this.#tabs.publish(event);
      },
    });
    await this.#engine.start();
  }

  async #perform(command: Command): Promise<unknown> {
    return this.#engine?.perform(command);
  }

  #apply(event: Event): void {
    const next = reduce(this.#state, event);
    if (next === this.#state) return;
    this.#state = next;
    for (const listener of this.#listeners) listener();
  }
}

function pick(held: Settings, keys: Settings): Settings {
  return Object.fromEntries(Object.keys(keys).map(key => [key, held[key as keyof Settings]]));
}
