/**
 * Several tabs, one truth: the tab that holds the lock leads and owns the connection; the others follow its events and
 * send it their commands. When it goes, the next in line takes over with the state it has.
 */
import type { Command } from './engine';
import { Disconnected, Refused } from './errors';
import { randomId } from './ids';
import type { Event, State } from './state';

export interface Channel {
  post(message: Message): void;
  close(): void;
}

/** What the platform gives; tests give their own. */
export interface TabsPlatform {
  openChannel(name: string, onMessage: (message: Message) => void): Channel;
  /** Runs `lead` while this tab holds the lock, which is let go when the promise settles. */
  lead(name: string, lead: () => Promise<void>): void;
}

interface Failure {
  kind: 'refused' | 'disconnected' | 'other';
  message: string;
  code?: string;
  retryAfterMs?: number | null;
  users?: readonly string[];
}

export type Message =
  | { kind: 'event'; number: number; event: Event }
  | { kind: 'ask' }
  | { kind: 'snapshot'; number: number; state: State; isNewLeader: boolean }
  | { kind: 'command'; id: string; command: Command }
  | { kind: 'answer'; id: string; value?: unknown; failure?: Failure };

export interface TabsHandlers {
  /** This tab leads from now on; resolves when it is ready to take commands. */
  onLead(): Promise<void>;
  /** The leader's event. */
  onEvent(event: Event): void;
  perform(command: Command): Promise<unknown>;
  state(): State;
}

interface Outstanding {
  command: Command;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export class Tabs {
  readonly id = randomId('t-');
  readonly #channel: Channel;
  readonly #outstanding = new Map<string, Outstanding>();
  #isLeader = false;
  #number = 0;
  #isInStep = false;
  #release: () => void = () => undefined;
  #onReady: () => void = () => undefined;
  /** Resolves when this tab has a state to show: its own as the leader, or the leader's. */
  readonly ready = new Promise<void>(resolve => {
    this.#onReady = resolve;
  });

  constructor(
    name: string,
    platform: TabsPlatform,
    private readonly handlers: TabsHandlers,
  ) {
    this.#channel = platform.openChannel(name, message => this.#onMessage(message));
    this.#channel.post({ kind: 'ask' });
    platform.lead(name, () => this.#lead());
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  /** The leader tells the others of an event that it has applied. */
  publish(event: Event): void {
    this.#number += 1;
    this.#channel.post({ kind: 'event', number: this.#number, event });
  }

  perform(command: Command): Promise<unknown> {
    if (this.#isLeader) return this.handlers.perform(command);
    const id = randomId('k-');
    return new Promise((resolve, reject) => {
      this.#outstanding.set(id, { command, resolve, reject });
      this.#channel.post({ kind: 'command', id, command });
    });
  }

  close(): void {
    this.#release();
    this.#channel.close();
  }

  async #lead(): Promise<void> {
    const released = new Promise<void>(resolve => {
      this.#release = resolve;
    });
    await this.handlers.onLead();
    this.#isLeader = true;
    this.#isInStep = true;
    this.#post(true);
    // What this tab had asked of the leader before is now its own to do.
    for (const [id, { command, resolve, reject }] of this.#outstanding) {
      this.#outstanding.delete(id);
      this.handlers.perform(command).then(resolve, reject);
    }
    this.#onReady();
    await released;
  }

  #post(isNewLeader: boolean): void {
    this.#channel.post({ kind: 'snapshot', number: this.#number, state: this.handlers.state(), isNewLeader });
  }

  #onMessage(message: Message): void {
    switch (message.kind) {
      case 'ask':
        if (this.#isLeader) this.#post(false);
        return;
      case 'snapshot':
        return this.#onSnapshot(message.number, message.state, message.isNewLeader);
      case 'event':
        return this.#onEvent(message.number, message.event);
      case 'command':
        if (this.#isLeader) void this.#answer(message.id, message.command);
        return;
      case 'answer':
        return this.#onAnswer(message.id, message.value, message.failure);
    }
  }

  #onSnapshot(number: number, state: State, isNewLeader: boolean): void {
    if (this.#isLeader || (this.#isInStep && !isNewLeader)) return;
    this.#number = number;
    this.#isInStep = true;
    this.handlers.onEvent({ type: 'replaced', state });
    this.#onReady();
    if (!isNewLeader) return;
    for (const [id, { command }] of this.#outstanding) this.#channel.post({ kind: 'command', id, command });
  }

  #onEvent(number: number, event: Event): void {
    if (this.#isLeader || !this.#isInStep) return;
    if (number === this.#number + 1) {
      this.#number = number;
      return this.handlers.onEvent(event);
    }
    this.#isInStep = false;
    this.#channel.post({ kind: 'ask' });
  }

  async #answer(id: string, command: Command): Promise<void> {
    try {
      this.#channel.post({ kind: 'answer', id, value: await this.handlers.perform(command) });
    } catch (error) {
      this.#channel.post({ kind: 'answer', id, failure: failureOf(error) });
    }
  }

  #onAnswer(id: string, value: unknown, failure: Failure | undefined): void {
    const outstanding = this.#outstanding.get(id);
    this.#outstanding.delete(id);
    if (failure) outstanding?.reject(errorOf(failure));
    else outstanding?.resolve(value);
  }
}

/** Errors lose their class on the way between tabs. */
function failureOf(error: unknown): Failure {
  if (error instanceof Refused) {
    const { code, message, retryAfterMs, users } = error;
    return { kind: 'refused', code, message, retryAfterMs, users };
  }
  return { kind: error instanceof Disconnected ? 'disconnected' : 'other', message: String(error) };
}

function errorOf(failure: Failure): Error {
  if (failure.kind === 'refused') {
    return new Refused(failure.code ?? 'internal', failure.message, failure.retryAfterMs, failure.users);
  }
  return failure.kind === 'disconnected' ? new Disconnected() : new Error(failure.message);
}

/** Browsers. Without Web Locks (an insecure page) every tab leads itself, on a connection of its own. */
export function browserTabs(): TabsPlatform {
  if (!('locks' in navigator) || typeof BroadcastChannel === 'undefined') return aloneTabs();
  return {
    openChannel(name, onMessage) {
      const channel = new BroadcastChannel(name);
      channel.onmessage = (event: MessageEvent<Message>) => onMessage(event.data);
      return { post: message => channel.postMessage(message), close: () => channel.close() };
    },
    lead(name, lead) {
      void navigator.locks.request(name, lead);
    },
  };
}

/** No other tabs: Node, tests. */
export function aloneTabs(): TabsPlatform {
  return {
    openChannel: () => ({ post: () => undefined, close: () => undefined }),
    lead: (_name, lead) => void lead(),
  };
}
