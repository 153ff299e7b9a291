/** Clients on a mock server, and waiting for what they come to show. */
import { Client, type ClientOptions, MemoryStore, type State } from '../src/sdk';
import type { Network } from '../src/sdk/connection';
import { aloneTabs } from '../src/sdk/tabs';
import type { MockServer } from './mock_server';

/** A network that a test can pull. */
export class FakeNetwork implements Network {
  #isOnline = true;
  readonly #listeners = new Set<() => void>();

  isOnline(): boolean {
    return this.#isOnline;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  set(isOnline: boolean): void {
    this.#isOnline = isOnline;
    for (const listener of this.#listeners) listener();
  }
}

export function openClient(server: MockServer, username: string, more: Partial<ClientOptions> = {}): Promise<Client> {
  return Client.open({
    url: 'http://mock.test',
    username,
    device: `${username}-device`,
    transports: [server.transport()],
    store: new MemoryStore(),
    network: new FakeNetwork(),
    tabs: aloneTabs(),
    random: () => 0,
    ...more,
  });
}

/** Resolves with the first value of `look` that is not undefined or false, now or after a later change. */
export function seen<T>(client: Client, look: (state: State) => T | undefined | false): Promise<T> {
  return new Promise(resolve => {
    const stop = client.subscribe(check);
    function check(): void {
      const value = look(client.state);
      if (value === undefined || value === false) return;
      stop();
      resolve(value);
    }
    check();
  });
}

/** The texts of a conversation's loaded messages, in order. */
export function texts(state: State, conversation: string): string[] {
  const entries = state.logs[conversation]?.entries ?? [];
  return entries.filter(entry => entry.kind === 'message').map(entry => entry.text ?? '');
}
