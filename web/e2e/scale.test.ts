/** Much of everything: a thousand conversations, long histories. The page stays small and does not jump. */
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { MOST_ENTRIES } from '../src/sdk/state/log';
import { openStage } from './stage';

const stage = openStage();

const nodes = (page: Page): Promise<number> => page.evaluate(() => document.querySelectorAll('*').length);

test('a thousand conversations: all can be reached, few are in the page, no long task', async () => {
  const users = Array.from({ length: 1_000 }, (_, index) => `friend-${String(index).padStart(4, '0')}`);
  await stage.site.know('ada');
  for (let at = 0; at < users.length; at += 20) {
    await Promise.all(
      users
        .slice(at, at + 20)
        .map(user =>
          stage.site.say(user, [
            { type: 'send', to: { user: 'ada' }, client_msg_id: 'hello', text: `hello from ${user}` },
          ]),
        ),
    );
  }
  const ada = await stage.arrive('ada');
  await ada.page.waitForSelector('.item');
  const before = await nodes(ada.page);
  expect(before).toBeLessThan(2_000);
  const reached = new Set<string>();
  await stage.browser.startTracing(ada.page, TRACED);
  for (let step = 0; step < 400; step += 1) {
    for (const name of await ada.page.$$eval('.item-name', all => all.map(each => each.textContent ?? '')))
      reached.add(name);
    const isEnd = await ada.page.$eval('.items', list => {
      list.scrollBy(0, list.clientHeight);
      return list.scrollTop + list.clientHeight >= list.scrollHeight - 1;
    });
    await ada.page.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    if (isEnd && reached.size >= users.length) break;
  }
  expect(longTasks(await stage.browser.stopTracing())).toEqual([]);
  expect(reached.size).toBe(users.length);
  expect(await nodes(ada.page)).toBeLessThan(2_000);
  await ada.page.fill('.search input', 'friend-0777');
  await ada.open('friend-0777');
  await ada.message('hello from friend-0777').waitFor();
}, 120_000);

test('a history of 100,000: no jump when older entries come in front, few rows in the page, no long task', async () => {
  const words = 'the tide comes in and the tide goes out and nobody at the harbour minds it much '.repeat(4);
  const messages = Array.from({ length: ENTRIES }, (_, index) => ({
    from: index % 3 === 0 ? 'walt' : 'hist',
    at: 1_600_000_000_000 + index * 97_000,
    // Of many heights: estimates are wrong, and must not show.
    text: `${index + 1} ${words.slice(0, (index * 37) % 300)}`,
  }));
  await stage.site.import('Harbour', ['walt', 'hist'], messages);
  const walt = await stage.arrive('walt');
  await stage.browser.startTracing(walt.page, TRACED);
  await walt.open('Harbour');
  await walt.message(`${ENTRIES} `).waitFor();

  const jumps: number[] = [];
  async function followed(times: number): Promise<void> {
    for (let seen = 0; seen < times; ) {
      const jump = await jumpOnPrepend(walt.page);
      if (jump === null) continue;
      jumps.push(jump);
      seen += 1;
    }
  }
  await followed(4);
  // Until the window is full, and lets the newest go for what comes in front.
  await walt.page.evaluate(walkBack, ENTRIES - MOST_ENTRIES);
  await followed(4);
  expect(await nodes(walt.page)).toBeLessThan(1_500);

  // To a place far away by its link, and back to the end by the button.
  await walt.page.evaluate(() => {
    location.hash += '/50000';
  });
  await walt.page.locator('.message.target', { hasText: '50000 ' }).waitFor();
  await followed(2);
  expect(Math.max(...jumps)).toBeLessThanOrEqual(1);
  await walt.page.click('.to-newest');
  await walt.message(`${ENTRIES} `).waitFor();
  expect(await nodes(walt.page)).toBeLessThan(1_500);
  expect(longTasks(await stage.browser.stopTracing())).toEqual([]);
}, 120_000);

const ENTRIES = 100_000;
const TRACED = { categories: ['disabled-by-default-devtools.timeline'] };
const LONG_TASK_MS = 100;

interface TraceEvent {
  name: string;
  pid: number;
  tid: number;
  /** Microseconds, as `dur`. */
  ts: number;
  /** Of one that was under way when the trace ended: none. */
  dur?: number;
  /** Microseconds on the processor: what other programs take of the machine does not count. */
  tdur?: number;
  args?: { name?: string };
}

/** Tasks of the page's main thread that took longer than they may, in milliseconds. */
function longTasks(trace: Buffer): number[] {
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: TraceEvent[] };
  const threadOf = (event: TraceEvent) => `${event.pid}/${event.tid}`;
  const main = new Set(traceEvents.filter(event => event.args?.name === 'CrRendererMain').map(threadOf));
  const tasks = traceEvents.filter(event => event.name === 'RunTask' && main.has(threadOf(event)));
  // A trace without them would prove nothing.
  expect(tasks.length).toBeGreaterThan(1_000);
  const end = traceEvents.reduce((last, event) => Math.max(last, event.ts), 0);
  const took = (task: TraceEvent) => task.tdur ?? task.dur ?? end - task.ts;
  return tasks.map(task => took(task) / 1_000).filter(ms => ms > LONG_TASK_MS);
}

/** Goes to the top again and again, until the first message in the page is before `seq`. */
async function walkBack(seq: number): Promise<void> {
  const scroller = document.querySelector('.history');
  if (!scroller) throw new Error('no history');
  const first = () =>
    Math.min(...[...document.querySelectorAll('.message')].map(row => Number(row.getAttribute('data-seq'))));
  while (first() > seq) {
    scroller.scrollTop = 0;
    await new Promise(resolve => requestAnimationFrame(resolve));
  }
}

/**
 * Goes near the top, so that an older page is fetched, and follows one message on screen: the most it moved in pixels.
 * Null: the page was there before the message could be followed.
 */
function jumpOnPrepend(page: Page): Promise<number | null> {
  return page.evaluate(async () => {
    const scroller = document.querySelector('.history');
    if (!scroller) throw new Error('no history');
    const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
    const top = (row: Element | null | undefined) => row?.getBoundingClientRect().top ?? Number.POSITIVE_INFINITY;
    scroller.scrollTop = 400;
    // What the scroll itself brought into the page is measured and placed.
    for (let index = 0; index < 3; index += 1) await frame();
    const middle = top(scroller) + scroller.clientHeight / 2;
    const anchor = [...document.querySelectorAll('.message')].find(row => row.getBoundingClientRect().bottom > middle);
    const isHere = `.message[data-seq="${anchor?.getAttribute('data-seq')}"]`;
    const [before, offset] = [top(anchor), scroller.scrollTop];
    let most = 0;
    const follow = () => {
      most = Math.max(most, Math.abs(top(document.querySelector(isHere)) - before));
    };
    // The page is there once the list has moved on under the reader; then it is measured and placed.
    const hasCome = () => Math.abs(scroller.scrollTop - offset) > 100;
    for (let index = 0; index < 60 && !hasCome(); index += 1) {
      await frame();
      follow();
    }
    for (let index = 0; index < 15; index += 1) {
      await frame();
      follow();
    }
    return hasCome() ? most : null;
  });
}
