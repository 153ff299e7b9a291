/** The operators' page: a server alone, and a fleet that answers as one would. */
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import type { Fleet, FleetNode } from '../src/app/cluster/fleet';
import { findings } from './axe';
import { DESKTOP, PATIENCE_MS, PHONE } from './person';
import { openStage } from './stage';

const stage = openStage();

async function open(options: object, prepare: (page: Page) => Promise<unknown> = async () => undefined): Promise<Page> {
  const context = await stage.browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await prepare(page);
  await page.goto(`${stage.site.url}/cluster`);
  return page;
}

async function enter(page: Page, token: string): Promise<void> {
  await page.fill('#token', token);
  await page.click('button[type=submit]');
}

test('a server alone is looked at with the admin token, and no other', async () => {
  const page = await open(DESKTOP);
  expect(await findings(page)).toEqual([]);
  await enter(page, 'a guess');
  await page.locator('.problem', { hasText: 'not the admin token' }).waitFor();
  await enter(page, stage.site.adminToken());
  await page.locator('.operators-sum', { hasText: 'works alone' }).waitFor();
  await page.locator('.node', { hasText: '16,384' }).waitFor();
  expect(await page.locator('.node').count()).toBe(1);
  expect(await page.locator('.node button').count()).toBe(0);
  expect(await findings(page)).toEqual([]);
  // The tab keeps the token, until it is told to forget it.
  await page.reload();
  await page.locator('.operators-sum').waitFor();
  await page.click('text=Forget the token');
  await page.waitForSelector('#token');
  await page.context().close();
});

function node(name: string, more: Partial<FleetNode> = {}): FleetNode {
  const about = { url: `https://${name}.chat.example`, address: `${name}:8090`, weight: 1, quiet_ms: 600 };
  const counts = { state: 'live' as const, is_silent: false, hosted: 5_461, wished: 5_461, answers: false };
  return { id: `id-of-${name}`, name, ...about, ...counts, ...more };
}

test.each([
  ['desktop, light', DESKTOP],
  ['phone, dark', { ...PHONE, colorScheme: 'dark' as const }],
])('a node of a fleet is drained, and a dead one removed, after a second thought: %s', async (_, options) => {
  const fleet: Fleet = {
    is_alone: false,
    view_epoch: 12,
    counted_epoch: 12,
    shards: 16_384,
    moving: 0,
    nodes: [node('east', { answers: true }), node('north'), node('west', { quiet_ms: 14_000, is_silent: true })],
  };
  const asked: unknown[] = [];
  const page = await open(options, each =>
    each.route('**/v1/admin/cluster**', async route => {
      const request = route.request();
      if (request.method() === 'POST') {
        asked.push([new URL(request.url()).pathname, request.postDataJSON()]);
        const { node: id } = request.postDataJSON() as { node: string };
        const named = fleet.nodes.find(each => each.id === id);
        if (named) Object.assign(named, { state: request.url().endsWith('drain') ? 'draining' : 'gone' });
      }
      await route.fulfill({ json: fleet });
    }),
  );
  await enter(page, 'whatever');
  const row = (name: string) => page.locator(`.node[data-node=${name}]`);
  await row('west').locator('text=silent').waitFor();
  expect(await findings(page)).toEqual([]);
  await row('north').locator('button', { hasText: 'Drain' }).click();
  expect(await findings(page)).toEqual([]);
  await page.keyboard.press('Escape');
  await page.waitForSelector('.dialog', { state: 'detached' });
  expect(asked).toEqual([]);
  await row('north').locator('button', { hasText: 'Drain' }).click();
  await page.click('.dialog button[type=submit]');
  await row('north').locator('text=draining').waitFor();
  // One that lives is removed only by whoever says so twice.
  await row('north').locator('button', { hasText: 'Remove' }).click();
  expect(await page.locator('.dialog button[type=submit]').isDisabled()).toBe(true);
  await page.keyboard.press('Escape');
  await page.waitForSelector('.dialog', { state: 'detached' });
  await row('west').locator('button', { hasText: 'Remove' }).click();
  await page.click('.dialog button[type=submit]');
  await row('west').locator('text=gone').waitFor();
  expect(asked).toEqual([
    ['/v1/admin/cluster/drain', { node: 'id-of-north', force: false }],
    ['/v1/admin/cluster/remove', { node: 'id-of-west', force: false }],
  ]);
  // It is asked again by itself.
  fleet.moving = 7;
  await page.locator('.operators-sum', { hasText: '7 of 16,384' }).waitFor();
  const folder = process.env.PICTURES;
  if (folder) await page.screenshot({ path: `${folder}/cluster-${options === DESKTOP ? 'desktop' : 'phone'}.png` });
  await page.context().close();
});
