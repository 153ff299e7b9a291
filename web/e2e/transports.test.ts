/** Networks that block WebSocket, or streams too: the same conversation over what is left, and back when it opens. */
import type { BrowserContext, WebSocketRoute } from 'playwright-core';
import { expect, test } from 'vitest';
import type { ServerFrame } from '../src/sdk';
import { DESKTOP, type Person } from './person';
import { openStage } from './stage';

const stage = openStage();

/** What lies between a person and the server, and lets through what it is told to. */
class Firewall {
  blocksSockets = false;
  blocksStreams = false;
  readonly #sockets = new Set<WebSocketRoute>();

  stand = async (context: BrowserContext): Promise<void> => {
    await context.routeWebSocket(/\/v1\/ws/, async socket => {
      if (this.blocksSockets) return socket.close();
      this.#sockets.add(socket);
      socket.connectToServer();
    });
    await context.route('**/v1/events*', route => (this.blocksStreams ? route.abort() : route.continue()));
  };

  async cutSockets(): Promise<void> {
    await Promise.all([...this.#sockets].map(socket => socket.close()));
    this.#sockets.clear();
  }
}

const on = (person: Person, transport: string): Promise<unknown> =>
  person.page.waitForSelector(`[data-phase=ready][data-transport=${transport}]`, { state: 'attached' });

test.each(['sse', 'long_poll'])('two people talk, one of them over %s', async transport => {
  const firewall = new Firewall();
  firewall.blocksSockets = true;
  firewall.blocksStreams = transport === 'long_poll';
  const [ada, bob] = [`ada-${transport}`, `bob-${transport}`];
  await stage.site.know(bob);
  const here = await stage.arrive(ada, DESKTOP, firewall.stand);
  await on(here, transport);
  const there = await stage.arrive(bob);
  await here.writeTo(bob, 'Good morning');
  await there.item(ada).locator('.badge').waitFor();
  await there.open(ada);
  await here.ticks('Good morning', 'read');
  if (transport === 'sse') {
    await there.page.locator('#composer').pressSequentially('Go');
    await here.page.locator('.head-line', { hasText: 'typing' }).waitFor();
  }
  const said = ['Good morning'];
  for (let round = 0; round < 3; round += 1) {
    await here.write(`this way ${round}`);
    await there.message(`this way ${round}`).waitFor();
    await there.write(`that way ${round}`);
    await here.message(`that way ${round}`).waitFor();
    said.push(`this way ${round}`, `that way ${round}`);
  }
  await here.ticks('this way 2', 'read');
  await there.ticks('that way 2', 'read');
  expect(await here.texts()).toEqual(said);
  expect(await there.texts()).toEqual(said);
});

test('WebSocket goes, then streams, then both come back: nothing is lost, doubled or out of order', async () => {
  const firewall = new Firewall();
  const { site } = stage;
  await site.know('mary');
  // So high that all messages are in the page.
  const carl = await stage.arrive('carl', { viewport: { width: 1280, height: 4_000 } }, firewall.stand);
  await carl.writeTo('mary', 'carl 0');
  let answers = 0;
  let written = 0;
  /** Both write while `meanwhile` goes on. */
  async function talk(meanwhile: () => Promise<unknown>): Promise<void> {
    const change = meanwhile();
    for (let round = 0; round < 5; round += 1) {
      const text = `mary ${answers++}`;
      await Promise.all([
        site.say('mary', [{ type: 'send', to: { user: 'carl' }, client_msg_id: text, text }]),
        carl.write(`carl ${++written}`),
      ]);
    }
    await change;
  }

  await on(carl, 'websocket');
  firewall.blocksSockets = true;
  await talk(async () => {
    await firewall.cutSockets();
    await on(carl, 'sse');
  });
  firewall.blocksStreams = true;
  await talk(async () => {
    await carl.context.setOffline(true);
    await carl.context.setOffline(false);
    await on(carl, 'long_poll');
  });
  firewall.blocksSockets = false;
  await talk(() => on(carl, 'websocket'));
  await talk(async () => undefined);

  await carl.message(`mary ${answers - 1}`).waitFor();
  await carl.page.locator('.receipt.waiting').first().waitFor({ state: 'detached' });
  const [log] = await site.say('mary', [{ type: 'fetch', conversation: await opened(carl), limit: 200 }]);
  const entries = (log as Extract<ServerFrame, { type: 'entries' }>).entries ?? [];
  const texts = entries.map(entry => entry.text ?? '');
  expect(texts.filter(text => text.startsWith('mary'))).toEqual(range(answers).map(index => `mary ${index}`));
  expect(texts.filter(text => text.startsWith('carl'))).toEqual(range(written + 1).map(index => `carl ${index}`));
  expect(await carl.texts()).toEqual(texts);
});

const range = (length: number): number[] => Array.from({ length }, (_, index) => index);
const opened = async (person: Person): Promise<string> => /#\/c\/([a-z2-7]+)/.exec(person.page.url())?.[1] ?? '';
