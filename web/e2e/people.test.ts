/** People and what one keeps of conversations: roles, settings, what is new since one looked, the page as an app. */
import { expect, test } from 'vitest';
import { PATIENCE_MS } from './person';
import { openStage } from './stage';

const stage = openStage();

test('roles and members: who is made an admin may add and remove, and everybody sees it', async () => {
  const { site } = stage;
  await Promise.all(['rob', 'sue'].map(user => site.know(user)));
  await site.say('rob', [{ type: 'profile', name: 'Rob the Great' }]);
  await site.say('ola', [{ type: 'create', client_msg_id: 'g', name: 'Regatta', members: ['rob'], history: 'all' }]);
  const ola = await stage.arrive('ola');
  const rob = await stage.arrive('rob');
  await ola.open('Regatta');
  await rob.open('Regatta');
  await ola.page.click('.conversation-head [aria-label=Details]');
  await rob.page.click('.conversation-head [aria-label=Details]');
  expect(await rob.page.locator('.details').getByText('Add people').count()).toBe(0);
  await ola.page.locator('.members .person', { hasText: 'Rob the Great' }).waitFor();
  await ola.page.click('[aria-label="What to do with rob"]');
  await ola.page.click('.menu-act:has-text("Make an admin")');
  await rob.page.locator('.note', { hasText: 'made you an admin' }).waitFor();
  await rob.page.locator('.details').getByText('Add people').click();
  await rob.page.fill('.dialog .chips input', 'sue');
  await rob.page.keyboard.press('Enter');
  await rob.page.click('.dialog button[type=submit]');
  await ola.page.locator('.note', { hasText: 'Rob the Great added sue' }).waitFor();
  await ola.page.locator('.head-line', { hasText: '3 members' }).waitFor();
  await rob.page.click('.details .act:has-text("Leave the group")');
  await rob.page.click('.menu-act:has-text("Leave")');
  await ola.page.locator('.note', { hasText: 'Rob the Great left' }).waitFor();
  await rob.item('Regatta').waitFor({ state: 'detached' });
});

test('a large group: its members come by pages, by their names', async () => {
  const { site } = stage;
  const users = Array.from({ length: 120 }, (_, index) => `hand-${String(index).padStart(3, '0')}`);
  for (let at = 0; at < users.length; at += 20) {
    await Promise.all(
      users.slice(at, at + 20).map(user => site.say(user, [{ type: 'profile', name: user.replace('hand-', 'Hand ') }])),
    );
  }
  await site.say('boss', [{ type: 'create', client_msg_id: 'g', name: 'All hands', members: users, history: 'all' }]);
  const boss = await stage.arrive('boss');
  await boss.open('All hands');
  await boss.page.click('.conversation-head [aria-label=Details]');
  await boss.page.locator('.members .person', { hasText: 'Hand 050' }).waitFor();
  await boss.page.locator('.members .role', { hasText: 'owner' }).waitFor();
  await boss.page.click('.members .act:has-text("others")');
  await boss.page.locator('.members .person', { hasText: 'Hand 119' }).waitFor();
  expect(await boss.page.locator('.members .person').count()).toBe(121);
});

test('muted, pinned, archived: each is in its place, after a reload too', async () => {
  const { site } = stage;
  await site.know('tom');
  for (const user of ['uma', 'vic', 'wes']) {
    await site.say(user, [{ type: 'send', to: { user: 'tom' }, client_msg_id: 'm', text: `from ${user}` }]);
  }
  const tom = await stage.arrive('tom');
  const act = async (name: string, label: string) => {
    await tom.item(name).click({ button: 'right' });
    await tom.page.click(`.menu-act:has-text("${label}")`);
  };
  const names = () => tom.page.$$eval('.item-name', all => all.map(each => each.textContent));
  await tom.item('wes').waitFor();
  await act('uma', 'Pin to the top');
  await tom.item('uma').locator('text=pinned').waitFor({ state: 'attached' });
  expect(await names()).toEqual(['uma', 'wes', 'vic']);
  await act('vic', 'Mute');
  await tom.item('vic').locator('.badge.quiet').waitFor();
  await act('wes', 'Archive');
  await tom.item('wes').waitFor({ state: 'detached' });
  await tom.page.click('.chip:has-text("Archived")');
  await tom.item('wes').waitFor();
  expect(await names()).toEqual(['wes']);
  // All of it is the account's, not the page's.
  await tom.page.reload();
  await tom.connected();
  await tom.item('vic').locator('.badge.quiet').waitFor();
  expect(await names()).toEqual(['uma', 'vic']);
  expect(await tom.page.title()).toBe('(1) Tidings');
});

test('what is new since one looked stands behind a line, and the way to it is one press', async () => {
  const { site } = stage;
  await site.know('yan');
  const sends = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, index) => ({
      type: 'send' as const,
      to: { user: 'yan' },
      client_msg_id: `n-${from + index}`,
      text: `news ${from + index}`,
    }));
  await site.say('zed', sends(0, 40));
  const yan = await stage.arrive('yan');
  await yan.open('zed');
  await yan.page.locator('.to-newest').click();
  await yan.message('news 39').waitFor();
  await yan.item('zed').locator('.badge').waitFor({ state: 'detached' });
  await yan.page.evaluate(() => {
    location.hash = '';
  });
  await site.say('zed', sends(40, 100));
  await yan.item('zed').locator('.badge', { hasText: '60' }).waitFor();
  await yan.open('zed');
  await yan.page.locator('.unread-line').waitFor();
  await yan.message('news 40').waitFor();
  const [line, first] = await Promise.all(
    [yan.page.locator('.unread-line'), yan.message('news 40')].map(each => each.boundingBox()),
  );
  expect(first?.y).toBeGreaterThanOrEqual(line?.y ?? Number.POSITIVE_INFINITY);
  await yan.page.locator('.to-newest .badge').click();
  await yan.message('news 99').waitFor();
  await yan.item('zed').locator('.badge').waitFor({ state: 'detached' });
});

test('whoever wants less motion stands at the newest message, too', async () => {
  const { site } = stage;
  await site.know('ned');
  const text = (index: number) => `${index} ${'more than one line of a narrow window '.repeat(4)}`;
  const sends = Array.from({ length: 40 }, (_, index) => ({
    type: 'send' as const,
    to: { user: 'ned' },
    client_msg_id: `m-${index}`,
    text: text(index),
  }));
  const [sent] = await site.say('moe', sends);
  if (sent?.type !== 'sent') throw new Error('no answer');
  await site.say('ned', [{ type: 'mark_read', conversation: sent.conversation, seq: 40 }]);
  const ned = await stage.arrive('ned', { viewport: { width: 640, height: 400 }, reducedMotion: 'reduce' });
  await ned.open('moe');
  await ned.message('39 more').waitFor();
  const below = () =>
    ned.page.$eval('.history', list => Math.round(list.scrollHeight - list.scrollTop - list.clientHeight));
  await expect.poll(below).toBe(0);
  await expect.poll(() => ned.page.locator('.to-newest').count()).toBe(0);
  // Rows that glide to their places, however fast, come there a frame after the list has looked where its end is.
  const glides = () =>
    ned.page.$$eval('.history *', all => all.filter(each => getComputedStyle(each).transitionDuration !== '0s').length);
  expect(await glides()).toBe(0);
});

test('the page can be installed, and its texts and links be copied', async () => {
  const { site } = stage;
  await site.know('xia');
  await site.say('kim', [{ type: 'send', to: { user: 'xia' }, client_msg_id: 'k', text: 'copy me' }]);
  const xia = await stage.arrive('xia');
  await xia.page.evaluate(() => navigator.serviceWorker.ready);
  const devtools = await xia.context.newCDPSession(xia.page);
  const { installabilityErrors } = await devtools.send('Page.getInstallabilityErrors');
  // A window that forgets all, as tests have it, is never installed.
  expect(installabilityErrors.map(each => each.errorId).filter(id => id !== 'in-incognito')).toEqual([]);

  await xia.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await xia.open('kim');
  const copied = async (label: string) => {
    await xia.message('copy me').hover();
    await xia.message('copy me').locator('[aria-label=More]').click();
    await xia.page.click(`.menu-act:has-text("${label}")`);
    await xia.page.locator('.toast', { hasText: 'opied' }).first().waitFor();
    return xia.page.evaluate(() => navigator.clipboard.readText());
  };
  expect(await copied('Copy text')).toBe('copy me');
  await xia.page.locator('.toast').waitFor({ state: 'detached' });
  await xia.page.goto(await copied('Copy link'));
  await xia.message('copy me').waitFor();
  expect(await xia.page.locator('.message.target .text').textContent()).toBe('copy me');
});

test('devices: each is known again, can be named, and is out once it is logged out', async () => {
  const ada = await stage.arrive('ada');
  const lost = await stage.arrive('ada');
  const { page } = ada;
  await page.click('[aria-label="Your profile"]');
  await page.click('.dialog button:has-text("Devices")');
  const devices = page.locator('.device');
  await devices.nth(1).waitFor();
  // What a browser is it says itself, a moment after it has connected.
  await expect.poll(() => devices.first().textContent(), { timeout: PATIENCE_MS }).toContain('this device');
  expect(await devices.count()).toBe(2);
  expect(await page.locator('.device', { hasText: 'this device' }).count()).toBe(1);

  await devices.nth(1).locator('.icon-button').click();
  await page.click('.menu-act:has-text("Rename")');
  await page.fill('[aria-label="Name of the device"]', 'Lost laptop');
  await page.keyboard.press('Enter');
  const named = page.locator('.device', { hasText: 'Lost laptop' });
  await named.waitFor();
  await named.locator('.icon-button').click();
  await page.click('.menu-act:has-text("Log it out")');
  await named.waitFor({ state: 'detached' });
  expect(await devices.count()).toBe(1);
  await lost.page.locator('.banner', { hasText: 'no longer connected' }).waitFor();
});
