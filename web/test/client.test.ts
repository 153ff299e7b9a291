/** Whole clients on the mock server: outbox, resume, tabs. */
import 'fake-indexeddb/auto';
import { expect, test } from 'vitest';
import { type Client, MemoryStore, openIndexedDb, type Store } from '../src/sdk';
import type { Channel, Message, TabsPlatform } from '../src/sdk/tabs';
import { FakeNetwork, openClient, seen, texts } from './harness';
import { MockServer } from './mock_server';

const isReady = (client: Client) => seen(client, state => state.status.phase === 'ready' && state.loaded);
const itemWith = (client: Client, user: string, isIt: (last: string) => boolean = () => true) =>
  seen(client, state => Object.values(state.items).find(item => item.with === user && isIt(item.last?.text ?? '')));

test('two people talk: sent, received, read', async () => {
  const server = new MockServer();
  const [ada, bob] = await Promise.all([openClient(server, 'ada'), openClient(server, 'bob')]);
  await Promise.all([isReady(ada), isReady(bob)]);
  const { conversation } = await ada.send({ user: 'bob' }, 'hi');
  const item = await itemWith(bob, 'ada');
  expect(item).toMatchObject({ unread: 1, last: { text: 'hi' } });
  await bob.markRead(conversation, 1);
  expect(bob.state.items[conversation]?.unread).toBe(0);
  await seen(ada, state => state.items[conversation]?.peer?.read_seq === 1);
});

const stores: [string, (name: string) => Promise<Store>][] = [
  ['memory', async () => new MemoryStore()],
  ['IndexedDB', name => openIndexedDb(name)],
];

test.each(stores)('sends made offline go out once, in order, also after a reload (%s)', async (name, openStore) => {
  const server = new MockServer();
  await isReady(await openClient(server, 'bob'));
  const store = await openStore(`outbox-${name}`);
  const network = new FakeNetwork();
  const ada = await openClient(server, 'ada', { store, network });
  await isReady(ada);
  await ada.send({ user: 'bob' }, 'before');
  network.set(false);
  for (const text of ['one', 'two', 'three']) void ada.send({ user: 'bob' }, text).catch(() => undefined);
  await seen(ada, state => state.outbox.length === 3);
  while ((await store.loadOutbox()).length < 3) await Promise.resolve();
  await ada.close();

  const offline = new FakeNetwork();
  offline.set(false);
  const again = await openClient(server, 'ada', { store, network: offline });
  expect(again.state.outbox.map(pending => pending.frame.type === 'send' && pending.frame.text)).toEqual([
    'one',
    'two',
    'three',
  ]);
  offline.set(true);
  await seen(again, state => state.outbox.length === 0 && state.status.phase === 'ready');
  const sent = [...server.conversations.values()][0]?.log.map(entry => entry.text);
  expect(sent).toEqual(['before', 'one', 'two', 'three']);
  while ((await store.loadOutbox()).length > 0) await Promise.resolve();
});

test('an answer lost with the line is asked for again and doubles nothing', async () => {
  const server = new MockServer();
  await isReady(await openClient(server, 'bob'));
  const ada = await openClient(server, 'ada');
  await isReady(ada);
  server.withholds = true;
  const sent = ada.send({ user: 'bob' }, 'once');
  while (server.conversations.size === 0) await Promise.resolve();
  server.withholds = false;
  server.cutAll();
  await expect(sent).resolves.toMatchObject({ seq: 1, repeat: true });
  const [conversation] = server.conversations.values();
  expect(conversation?.log).toHaveLength(1);
  expect(texts(ada.state, conversation?.id ?? '')).toEqual(['once']);
});

test('a temporary refusal holds back what is behind it; a final one is shown and can be retried', async () => {
  const server = new MockServer();
  await isReady(await openClient(server, 'bob'));
  const ada = await openClient(server, 'ada');
  await isReady(ada);
  await ada.send({ user: 'bob' }, 'zero');
  server.refuseNext.push({ type: 'send', code: 'unavailable', retry_after_ms: 1 });
  await ada.send({ user: 'bob' }, 'one');
  await ada.send({ user: 'bob' }, 'two');
  server.refuseNext.push({ type: 'send', code: 'too_large' });
  await expect(ada.send({ user: 'bob' }, 'three')).rejects.toMatchObject({ code: 'too_large' });
  const [failed] = ada.state.outbox;
  expect(failed?.refused?.code).toBe('too_large');
  await ada.retry(failed?.client_msg_id ?? '');
  await seen(ada, state => state.outbox.length === 0);
  expect([...server.conversations.values()][0]?.log.map(entry => entry.text)).toEqual(['zero', 'one', 'two', 'three']);
});

test('what no frame can carry is refused before it costs the line', async () => {
  const server = new MockServer();
  await isReady(await openClient(server, 'bob'));
  const ada = await openClient(server, 'ada');
  await isReady(ada);
  // Within the limit of a text, but six bytes each in JSON.
  const text = '\u0001'.repeat(16_000);
  await expect(ada.send({ user: 'bob' }, text)).rejects.toMatchObject({ code: 'too_large' });
  expect(ada.state.outbox[0]?.refused?.code).toBe('too_large');
  await ada.send({ user: 'bob' }, 'short');
  expect([...server.conversations.values()][0]?.log.map(entry => entry.text)).toEqual(['short']);
});

test('what was missed over a long cut is filled in without gaps', async () => {
  const server = new MockServer();
  const network = new FakeNetwork();
  const [ada, bob] = await Promise.all([openClient(server, 'ada', { network }), openClient(server, 'bob')]);
  await Promise.all([isReady(ada), isReady(bob)]);
  const { conversation } = await bob.send({ user: 'ada' }, 'm0');
  await itemWith(ada, 'bob');
  await ada.fetch(conversation, {});
  network.set(false);
  for (let index = 1; index <= 120; index += 1) await bob.send({ user: 'ada' }, `m${index}`);
  network.set(true);
  await seen(ada, state => texts(state, conversation).length === 121);
  expect(texts(ada.state, conversation)).toEqual(Array.from({ length: 121 }, (_, index) => `m${index}`));
  expect(ada.state.items[conversation]?.unread).toBe(121);
});

test('a reload shows what was kept before any network', async () => {
  const server = new MockServer();
  const store = new MemoryStore();
  const ada = await openClient(server, 'ada', { store });
  await isReady(await openClient(server, 'bob'));
  await isReady(ada);
  await ada.send({ user: 'bob' }, 'kept');
  await ada.close();
  const network = new FakeNetwork();
  network.set(false);
  const again = await openClient(server, 'ada', { store, network });
  const [item] = Object.values(again.state.items);
  expect(item?.last?.text).toBe('kept');
  expect(texts(again.state, item?.conversation ?? '')).toEqual(['kept']);
});

/** Tabs of one browser: a lock with a queue, and a channel that copies. */
class FakeBrowser implements TabsPlatform {
  readonly #channels = new Set<(message: Message) => void>();
  #queue: (() => Promise<void>)[] = [];
  #isHeld = false;

  openChannel(_name: string, onMessage: (message: Message) => void): Channel {
    this.#channels.add(onMessage);
    return {
      post: message => {
        const copy = structuredClone(message);
        for (const other of this.#channels) if (other !== onMessage) queueMicrotask(() => other(copy));
      },
      close: () => this.#channels.delete(onMessage),
    };
  }

  lead(_name: string, lead: () => Promise<void>): void {
    this.#queue.push(lead);
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#isHeld) return;
    this.#isHeld = true;
    for (let lead = this.#queue.shift(); lead; lead = this.#queue.shift()) await lead();
    this.#isHeld = false;
  }
}

test('tabs share one connection and agree; when the leader goes, the next takes over with nothing lost', async () => {
  const server = new MockServer();
  await isReady(await openClient(server, 'bob'));
  const browser = new FakeBrowser();
  const shared = { tabs: browser, store: new MemoryStore() };
  const first = await openClient(server, 'ada', shared);
  await isReady(first);
  const second = await openClient(server, 'ada', shared);
  const third = await openClient(server, 'ada', shared);
  expect([...server.sessions].filter(session => session.user === 'ada')).toHaveLength(1);

  const { conversation } = await second.send({ user: 'bob' }, 'from the second tab');
  await seen(third, state => state.items[conversation]?.last?.text === 'from the second tab');
  expect(third.state).toEqual(first.state);
  expect(second.state).toEqual(first.state);

  server.withholds = true;
  const sent = second.send({ user: 'bob' }, 'while the leader dies');
  while (server.taken.filter(({ frame }) => frame.type === 'send').length < 2) await Promise.resolve();
  server.withholds = false;
  await first.close();
  await expect(sent).resolves.toMatchObject({ seq: 2 });
  await seen(third, state => state.items[conversation]?.last_seq === 2 && state.status.phase === 'ready');
  expect(third.state).toEqual(second.state);
  expect([...server.sessions].filter(session => session.user === 'ada')).toHaveLength(1);
});
