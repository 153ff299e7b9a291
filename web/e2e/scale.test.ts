/** Much of everything: a thousand conversations, long histories. The page stays small and does not jump. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launch } from './browser';
import { Person } from './person';
import { Site } from './site';

let browser: Browser;
let site: Site;
beforeAll(async () => {
  [browser, site] = await Promise.all([launch(), Site.start()]);
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
});

const nodes = (page: Page): Promise<number> => page.evaluate(() => document.querySelectorAll('*').length);

test('a thousand conversations: all can be reached, few are in the page', async () => {
  const users = Array.from({ length: 1_000 }, (_, index) => `friend-${String(index).padStart(4, '0')}`);
  await site.know('ada');
  for (let at = 0; at < users.length; at += 20) {
    await Promise.all(
      users
        .slice(at, at + 20)
        .map(user =>
          site.say(user, [{ type: 'send', to: { user: 'ada' }, client_msg_id: 'hello', text: `hello from ${user}` }]),
        ),
    );
  }
  const ada = await Person.arrive(browser, site, 'ada');
  await ada.page.waitForSelector('.item');
  const before = await nodes(ada.page);
  expect(before).toBeLessThan(2_000);
  const reached = new Set<string>();
  for (let step = 0; step < 400; step += 1) {
    for (const name of await ada.page.$$eval('.item-name', all => all.map(each => each.textContent ?? '')))
      reached.add(name);
    const isEnd = await ada.page.$eval('.items', list => {
      list.scrollBy(0, 600);
      return list.scrollTop + list.clientHeight >= list.scrollHeight - 1;
    });
    await ada.page.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    if (isEnd && reached.size >= users.length) break;
  }
  expect(reached.size).toBe(users.length);
  expect(await nodes(ada.page)).toBeLessThan(2_000);
  await ada.page.fill('.search input', 'friend-0777');
  await ada.open('friend-0777');
  await ada.message('hello from friend-0777').waitFor();
  expect(ada.faults).toEqual([]);
  await ada.leave();
});

test('a long history: older entries come in front without a jump, few rows are in the page', async () => {
  const words = 'the tide comes in and the tide goes out and nobody at the harbour minds it much '.repeat(4);
  const sends = Array.from({ length: 3_000 }, (_, index) => ({
    type: 'send' as const,
    to: { user: 'walt' },
    client_msg_id: `h-${index}`,
    // Of many heights: estimates are wrong, and must not show.
    text: `${index} ${words.slice(0, (index * 37) % 300)}`,
  }));
  await site.know('walt');
  await site.say('hist', sends);
  const walt = await Person.arrive(browser, site, 'walt');
  await walt.open('hist');
  await walt.page.waitForSelector('.message');
  await walt.page.click('.to-newest');
  await walt.message('2999 ').waitFor();
  const jumps: number[] = [];
  for (let page = 0; page < 5; page += 1) jumps.push(await jumpOnPrepend(walt.page));
  const moved = jumps.filter(jump => jump >= 0);
  expect(moved.length).toBeGreaterThan(3);
  expect(Math.max(...moved)).toBeLessThanOrEqual(1);
  expect(await nodes(walt.page)).toBeLessThan(2_500);
  // And back to the end, by the button.
  await walt.page.click('.to-newest');
  await walt.message('2999 ').waitFor();
  expect(walt.faults).toEqual([]);
  await walt.leave();
});

/**
 * Goes near the top, so that an older page is fetched, and follows one message on screen for some frames. The most it
 * moved in pixels; -1 when nothing came.
 */
function jumpOnPrepend(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const scroller = document.querySelector('.history');
    if (!scroller) throw new Error('no history');
    const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
    scroller.scrollTop = 400;
    // What the scroll itself brought into the page is measured and placed.
    for (let index = 0; index < 3; index += 1) await frame();
    const middle = scroller.getBoundingClientRect().top + scroller.clientHeight / 2;
    const anchor = [...document.querySelectorAll('.message')].find(row => row.getBoundingClientRect().bottom > middle);
    if (!anchor) throw new Error('no message on screen');
    const top = anchor.getBoundingClientRect().top;
    const height = scroller.scrollHeight;
    let most = 0;
    for (let index = 0; index < 25; index += 1) {
      await frame();
      if (anchor.isConnected) most = Math.max(most, Math.abs(anchor.getBoundingClientRect().top - top));
    }
    return scroller.scrollHeight === height ? -1 : most;
  });
}
