/** Lines are cut, the server dies, tabs come and go: nothing is lost, nothing is doubled, and the page says how it is. */
import { expect, test } from 'vitest';
import { openStage } from './stage';

const stage = openStage();

test('what is sent offline goes out once, in order, also after a reload', async () => {
  const ada = await stage.arrive('ada');
  const bob = await stage.arrive('bob');
  await ada.writeTo('bob', 'before');
  await bob.open('ada');
  // The shell comes from the service worker once it is there.
  await ada.page.evaluate(() => navigator.serviceWorker.ready);
  await ada.context.setOffline(true);
  for (const text of ['one', 'two', 'three']) await ada.write(text);
  await ada.page.locator('.banner', { hasText: 'offline' }).waitFor();
  await ada.page.locator('.banner', { hasText: '3 messages wait' }).waitFor();
  await ada.page.reload();
  await ada.message('three').locator('.receipt.waiting').waitFor();
  expect(await ada.texts()).toEqual(['before', 'one', 'two', 'three']);
  await ada.context.setOffline(false);
  await ada.ticks('three', 'read');
  await bob.message('three').waitFor();
  expect(await bob.texts()).toEqual(['before', 'one', 'two', 'three']);
});

test('the server is killed and comes back in the middle of a conversation', async () => {
  const ada = await stage.arrive('ada');
  const bob = await stage.arrive('bob');
  await ada.writeTo('bob', 'before the storm');
  await bob.open('ada');
  await ada.ticks('before the storm', 'read');
  const expected = await ada.texts();
  for (let round = 0; round < 3; round += 1) {
    await ada.write(`while it runs ${round}`);
    // Whether this one was taken before the end is not known: it must be there once all the same.
    await ada.write(`as it dies ${round}`);
    await stage.site.kill();
    await bob.write(`while it is gone ${round}`);
    await ada.page.locator('.banner', { hasText: /Next try in \d+ s/ }).waitFor();
    await stage.site.restart();
    // Not to wait for the next try, which comes later each time.
    await Promise.all([ada, bob].map(each => each.reconnect()));
    await ada.message(`while it is gone ${round}`).waitFor();
    await bob.message(`as it dies ${round}`).waitFor();
  }
  await ada.page.locator('.receipt.waiting').first().waitFor({ state: 'detached' });
  const seen = await ada.texts();
  expect(await bob.texts()).toEqual(seen);
  expect([...seen].sort()).toEqual(
    [
      ...expected,
      ...[0, 1, 2].flatMap(round => [`while it runs ${round}`, `as it dies ${round}`, `while it is gone ${round}`]),
    ].sort(),
  );
  expect(new Set(seen).size).toBe(seen.length);
});

test('two tabs share one connection and agree; when the leading one closes, the other goes on', async () => {
  await stage.site.know('fay');
  const ada = await stage.arrive('gus');
  const sockets: string[] = [];
  ada.context.on('page', page => page.on('websocket', socket => sockets.push(socket.url())));
  const second = await ada.tab();
  await second.waitForSelector('[data-phase=ready]', { state: 'attached' });
  expect(sockets).toEqual([]);
  await ada.writeTo('fay', 'from the first tab');
  await second.locator('.item-preview', { hasText: 'from the first tab' }).waitFor();
  await second.click('.item');
  await second.fill('#composer', 'from the second tab');
  await second.click('.send-button');
  await ada.ticks('from the second tab', 'sent');
  await ada.page.close();
  await second.fill('#composer', 'after the first is gone');
  await second.click('.send-button');
  await second.locator('.message:has-text("after the first is gone") .receipt.sent').waitFor();
  expect(sockets).toHaveLength(1);
});

test('a message that is refused says why, and can be deleted or tried again', async () => {
  const ada = await stage.arrive('ada');
  await ada.page.goto(`${stage.site.url}/#/u/ghost-${Date.now()}`);
  await ada.write('anybody there?');
  await ada.page.locator('.refused', { hasText: 'Not sent' }).waitFor();
  await ada.page.click('.refused button:has-text("Try again")');
  await ada.page.locator('.refused', { hasText: 'Not sent' }).waitFor();
  await ada.page.click('.refused button:has-text("Delete")');
  await ada.message('anybody there?').waitFor({ state: 'detached' });
});
