/** People talk: two browsers, three devices, groups, and all that can be done with a message. */
import { expect, test } from 'vitest';
import { DESKTOP, type Person, PHONE } from './person';
import { openStage } from './stage';

const stage = openStage();

test('two people in two browsers: a first message, an answer, ticks, typing', async () => {
  const ada = await stage.arrive('ada');
  const bob = await stage.arrive('bob', PHONE);
  await ada.writeTo('bob', 'Good morning');
  await bob.item('ada').locator('.badge').waitFor();
  await ada.ticks('Good morning', 'delivered');
  await bob.open('ada');
  await bob.message('Good morning').waitFor();
  await ada.ticks('Good morning', 'read');
  await bob.page.locator('#composer').pressSequentially('And ');
  await ada.page.locator('.head-line', { hasText: 'typing' }).waitFor();
  await bob.write('And to you');
  await ada.message('And to you').waitFor();
  expect(await ada.texts()).toEqual(['Good morning', 'And to you']);
  expect(await bob.texts()).toEqual(['Good morning', 'And to you']);
});

test('a name that nobody has is told at once', async () => {
  const ada = await stage.arrive('ada');
  await ada.page.click('[aria-label="New conversation or group"]');
  await ada.page.click('.menu-act:has-text("New conversation")');
  await ada.page.fill('#new-user', 'nobody-at-all');
  await ada.page.click('.dialog button[type=submit]');
  await ada.page.locator('#new-user-problem', { hasText: 'nobody called' }).waitFor();
});

test('a name may be typed as people write it: with a capital, with an @; oneself is told', async () => {
  await Promise.all(['ben', 'kay'].map(user => stage.site.know(user)));
  const ada = await stage.arrive('ada');
  await ada.writeTo('@Ben', 'Hello Ben');
  await ada.ticks('Hello Ben', 'sent');
  await ada.page.fill('.search input', '@ben');
  await ada.item('ben').waitFor();
  await ada.page.fill('.search input', '');
  await ada.page.click('[aria-label="New conversation or group"]');
  await ada.page.click('.menu-act:has-text("New conversation")');
  await ada.page.fill('#new-user', 'Ada');
  await ada.page.click('.dialog button[type=submit]');
  await ada.page.locator('#new-user-problem', { hasText: 'That is you' }).waitFor();
  await ada.closeDialog();

  await ada.page.click('[aria-label="New conversation or group"]');
  await ada.page.click('.menu-act:has-text("New group")');
  await ada.page.fill('#group-name', 'Pier');
  await ada.page.fill('.chips input', '@ben Kay');
  await ada.page.keyboard.press('Enter');
  await ada.page.locator('.person-chip', { hasText: 'kay' }).waitFor();
  await expect.poll(() => ada.page.locator('.person-chip').allInnerTexts()).toEqual(['ben', 'kay']);
  await ada.page.click('.dialog button[type=submit]');
  await ada.page.locator('.head-line', { hasText: '3 members' }).waitFor();
});

test('code is shown as it was typed', async () => {
  await stage.site.know('cora');
  const ada = await stage.arrive('ada');
  await ada.writeTo('cora', 'Try `make run`:\n```sh\ncd  x\nmake run\n```');
  const block = ada.page.locator('.code.block');
  await block.waitFor();
  expect(await block.textContent()).toBe('cd  x\nmake run');
  expect(await ada.page.locator('.code').first().textContent()).toBe('make run');
});

test('three devices of one person agree: what is written, read and set on one shows on all', async () => {
  await stage.site.know('eve');
  const devices = await Promise.all([DESKTOP, PHONE, DESKTOP].map(options => stage.arrive('carol', options)));
  const [desk, phone, laptop] = devices as [Person, Person, Person];
  await desk.writeTo('eve', 'written at the desk');
  await phone.item('eve').waitFor();
  await laptop.open('eve');
  await laptop.message('written at the desk').waitFor();
  await laptop.write('written on the laptop');
  await desk.message('written on the laptop').waitFor();
  await phone.page.locator('.item-preview', { hasText: 'written on the laptop' }).waitFor();

  await desk.page.evaluate(() => {
    location.hash = '';
  });
  await laptop.page.evaluate(() => {
    location.hash = '';
  });
  await stage.site.say('eve', [{ type: 'send', to: { user: 'carol' }, client_msg_id: 'e-1', text: 'seen?' }]);
  await Promise.all(devices.map(device => device.item('eve').locator('.badge').waitFor()));
  await phone.open('eve');
  await Promise.all([desk, laptop].map(device => device.item('eve').locator('.badge').waitFor({ state: 'detached' })));
  await desk.item('eve').click({ button: 'right' });
  await desk.page.click('.menu-act:has-text("Pin to the top")');
  await laptop.item('eve').locator('text=pinned').waitFor({ state: 'attached' });
});

test('a group: made, named, mentioned in; a message is answered, changed, reacted to and deleted', async () => {
  await Promise.all(['bob', 'dan'].map(user => stage.site.know(user)));
  const ada = await stage.arrive('ada');
  const bob = await stage.arrive('bob');
  await ada.page.click('[aria-label="New conversation or group"]');
  await ada.page.click('.menu-act:has-text("New group")');
  await ada.page.fill('#group-name', 'Harbour');
  await ada.page.fill('.chips input', 'bob');
  await ada.page.keyboard.press('Enter');
  await ada.page.fill('.chips input', 'dan');
  await ada.page.keyboard.press('Enter');
  await ada.page.click('.dialog button[type=submit]');
  await ada.page.waitForSelector('.dialog', { state: 'detached' });

  await ada.page.locator('#composer').pressSequentially('Hello @bo');
  const suggestions = ada.page.locator('.suggestions .person', { hasText: 'bob' });
  await suggestions.waitFor();
  await ada.page.keyboard.press('Escape');
  await suggestions.waitFor({ state: 'detached' });
  await ada.page.locator('#composer').pressSequentially('b');
  await suggestions.waitFor();
  await ada.page.keyboard.press('Enter');
  await ada.page.locator('#composer').pressSequentially('look');
  await ada.page.keyboard.press('Enter');
  await bob.item('Harbour').locator('.badge.mention').waitFor();
  await bob.open('Harbour');
  await bob.message('Hello @bob look').locator('.mention-word.me').waitFor();

  await bob.message('Hello').hover();
  await bob.message('Hello').locator('[aria-label=Reply]').click();
  await bob.write('I see it');
  await ada.message('I see it').locator('.quote-text', { hasText: 'Hello @bob look' }).waitFor();

  await ada.message('I see it').hover();
  await ada.message('I see it').locator('[aria-label=React]').click();
  await ada.page.click('.menu-quick button:has-text("🎉")');
  await bob.message('I see it').locator('.reaction', { hasText: '1' }).waitFor();
  await bob.message('I see it').locator('.reaction').click();
  await ada.message('I see it').locator('.reaction', { hasText: '2' }).waitFor();

  await ada.page.fill('#composer', '');
  await ada.page.press('#composer', 'ArrowUp');
  await ada.write('Hello @bob look here');
  await bob.message('look here').locator('.meta', { hasText: 'edited' }).waitFor();

  await ada.message('look here').hover();
  await ada.message('look here').locator('[aria-label=More]').click();
  await ada.page.click('.menu-act:has-text("Delete for everybody")');
  await bob.page.locator('.text.redacted').waitFor();

  await ada.page.click('.conversation-head [aria-label=Details]');
  await ada.page.click('[aria-label="What to do with dan"]');
  await ada.page.click('.menu-act:has-text("Remove from the group")');
  await bob.page.locator('.note', { hasText: 'removed dan' }).waitFor();
});

test('who is blocked notices nothing and reaches nobody', async () => {
  const ada = await stage.arrive('ada');
  const mal = await stage.arrive('mal');
  await mal.writeTo('ada', 'first');
  await ada.open('mal');
  await ada.page.click('.conversation-head [aria-label=Details]');
  await ada.page.click('.act:has-text("Block mal")');
  await ada.page.locator('text=You blocked mal').waitFor();
  await mal.write('second');
  await mal.ticks('second', 'sent');
  await ada.page.click('.composer button:has-text("Unblock")');
  await mal.write('third');
  await ada.message('third').waitFor();
  expect(await ada.texts()).toEqual(['first', 'third']);
});

test('a deep link opens its message; a draft outlives a reload', async () => {
  const ada = await stage.arrive('ada');
  const sends = Array.from({ length: 150 }, (_, index) => ({
    type: 'send' as const,
    to: { user: 'ada' },
    client_msg_id: `l-${index}`,
    text: `line ${index}`,
  }));
  const [, , answer] = await stage.site.say('lin', sends);
  if (answer?.type !== 'sent') throw new Error('no answer');
  await ada.item('lin').waitFor();
  await ada.page.goto(`${stage.site.url}/#/c/${answer.conversation}/${answer.seq}`);
  await ada.message('line 2').first().waitFor();
  expect(await ada.page.locator('.message.target .text').textContent()).toBe('line 2');
  await ada.page.click('.to-newest');
  await ada.message('line 149').waitFor();
  await ada.page.fill('#composer', 'not sent yet');
  await ada.page.reload();
  await ada.page.waitForSelector('#composer');
  expect(await ada.page.inputValue('#composer')).toBe('not sent yet');
});
