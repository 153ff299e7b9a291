/** Everybody can use it: by keys alone, with a screen reader, on a phone, in the dark. */
import { expect, test } from 'vitest';
import { findings } from './axe';
import { DESKTOP, PATIENCE_MS, PHONE } from './person';
import { openStage } from './stage';

const stage = openStage(async site => {
  await Promise.all(['bob', 'eve'].map(user => site.know(user)));
  await site.know('ada');
  const [made] = await site.say('ada', [
    { type: 'create', client_msg_id: 'g', name: 'Harbour', members: ['bob', 'eve'], history: 'all' },
  ]);
  if (made?.type !== 'created') throw new Error('no group');
  const to = { conversation: made.conversation };
  await site.say('bob', [
    { type: 'send', to, client_msg_id: 'b-1', text: 'Look at https://example.org/tide and tell me' },
    { type: 'send', to, client_msg_id: 'b-2', text: '@ada what do you think?', mentions: ['ada'] },
    { type: 'send', to: { user: 'ada' }, client_msg_id: 'b-3', text: 'hello' },
  ]);
  await site.say('eve', [
    { type: 'send', to, client_msg_id: 'e-1', text: 'Fine by me', reply_to: 3 },
    { type: 'react', conversation: made.conversation, client_msg_id: 'e-2', seq: 2, emoji: '👍', on: true },
  ]);
});

test('axe finds nothing anywhere', async () => {
  const context = await stage.browser.newContext(DESKTOP);
  const page = await context.newPage();
  await page.goto(stage.site.url);
  await page.waitForSelector('#username');
  const found = await findings(page);
  await context.close();

  const ada = await stage.arrive('ada', { ...DESKTOP, reducedMotion: 'reduce' });
  await ada.page.click('[aria-label="New conversation or group"]');
  await ada.page.click('.menu-act:has-text("New group")');
  await ada.page.waitForSelector('.dialog');
  found.push(...(await findings(ada.page)));
  await ada.closeDialog();
  await ada.page.click('[aria-label="Your profile"]');
  await ada.page.click('.dialog button:has-text("Devices")');
  await ada.page.waitForSelector('.device');
  found.push(...(await findings(ada.page)));
  await ada.closeDialog();
  await ada.page.keyboard.press('Control+k');
  await ada.page.waitForSelector('.switcher');
  found.push(...(await findings(ada.page)));
  expect(found).toEqual([]);
});

test.each([
  ['desktop, light', { ...DESKTOP, colorScheme: 'light' as const }],
  ['desktop, dark', { ...DESKTOP, colorScheme: 'dark' as const }],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' as const }],
])('axe finds nothing in a conversation and its details: %s', async (_, options) => {
  const ada = await stage.arrive('ada', { ...options, reducedMotion: 'reduce' });
  await ada.open('Harbour');
  await ada.message('Fine by me').waitFor();
  const found = await findings(ada.page);
  await ada.page.click('.conversation-head [aria-label=Details]');
  await ada.page.waitForSelector('.details');
  found.push(...(await findings(ada.page)));
  expect(found).toEqual([]);
});

test('a whole journey without a pointer', async () => {
  const context = await stage.browser.newContext(DESKTOP);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const press = async (...keys: string[]) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await page.goto(stage.site.url);
  await page.waitForSelector('#username:focus');
  await page.keyboard.type('ada');
  await press('Enter');
  await page.waitForSelector('.item');

  // The list is one stop; arrows move inside, Enter opens, and one can write at once.
  for (let stop = 0; stop < 15 && !(await page.$('.item:focus')); stop += 1) await press('Tab');
  const first = await page.locator('.item:focus .item-name').textContent();
  await press('ArrowDown');
  await page.waitForFunction(name => document.activeElement?.querySelector('.item-name')?.textContent !== name, first);
  await press('ArrowUp');
  await page.waitForFunction(name => document.activeElement?.querySelector('.item-name')?.textContent === name, first);
  await press('Enter');
  await page.waitForSelector('#composer:focus');

  // Another conversation by its name.
  await press('Control+k');
  await page.waitForSelector('.switcher input:focus');
  await page.keyboard.type('harb');
  await press('Enter');
  await page.locator('.head-name', { hasText: 'Harbour' }).waitFor();
  await page.waitForSelector('#composer:focus');
  await page.keyboard.type('by keys alone');
  await press('Enter');
  await page.locator('.message.own', { hasText: 'by keys alone' }).waitFor();

  // Into the history, to a message, and its menu.
  await press('Shift+Tab');
  for (let stop = 0; stop < 5 && !(await page.$('.message:focus')); stop += 1) await press('Shift+Tab');
  await press('ArrowUp', 'Enter');
  await page.waitForSelector('dialog.menu .menu-act:focus');
  await press('Enter');
  await page.locator('.composer-about', { hasText: 'Reply to' }).waitFor();
  await page.waitForSelector('#composer:focus');
  await page.keyboard.type('an answer');
  await press('Enter');
  await page.locator('.message.own .quote').waitFor();

  // A change of the last own message, and out of it again.
  await press('ArrowUp');
  await page.locator('.composer-about', { hasText: 'Edit' }).waitFor();
  await press('Escape');
  await page.locator('.composer-about').waitFor({ state: 'detached' });
  await context.close();
});

test('a screen reader hears new messages of the open conversation, once, and no others', async () => {
  const ada = await stage.arrive('ada');
  await ada.open('bob');
  await ada.message('hello').waitFor();
  const heard = ada.page.locator('[role=log][aria-live=polite]');
  expect(await heard.textContent()).toBe('');
  await stage.site.say('eve', [{ type: 'send', to: { user: 'ada' }, client_msg_id: 'x-1', text: 'elsewhere' }]);
  await stage.site.say('bob', [{ type: 'send', to: { user: 'ada' }, client_msg_id: 'x-2', text: 'here' }]);
  await ada.page.locator('[role=log][aria-live=polite] p').waitFor({ state: 'attached' });
  expect(await heard.textContent()).toBe('bob: here');
});
