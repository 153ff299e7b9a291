/** Who logs in elsewhere: the round by a login service, in a real browser, with the stand-in that `tidings dev-login` is. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launch } from './browser';
import { PATIENCE_MS } from './person';
import { BINARY, Site } from './site';

let browser: Browser;
let service: ChildProcess;
let serviceUrl: string;
let site: Site;

beforeAll(async () => {
  browser = await launch();
  service = spawn(BINARY, ['dev-login', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  serviceUrl = await new Promise<string>((resolve, reject) => {
    service.once('error', reject);
    if (!service.stdout) return;
    createInterface(service.stdout).on('line', line => {
      const address = /^listening on (\S+)$/.exec(line)?.[1];
      if (address) resolve(address);
    });
  });
  site = await Site.start({
    TIDINGS_AUTH_MODE: 'jwt',
    TIDINGS_AUTH_JWKS_URL: `${serviceUrl}/keys`,
    TIDINGS_AUTH_LOGIN_URL: `${serviceUrl}/`,
  });
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  service?.kill();
});

async function newPage(): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  return page;
}

async function logIn(page: Page, name: string): Promise<void> {
  await page.goto(site.url);
  expect(new URL(page.url()).origin).toBe(serviceUrl);
  await page.fill('input[name=username]', name);
  await page.click('button');
  await page.waitForSelector('[data-phase=ready][data-loaded=true]', { state: 'attached' });
}

test('a browser without a token goes to the login service and comes back logged in', async () => {
  const [ada, bob] = [await newPage(), await newPage()];
  await logIn(bob, 'bob');
  await logIn(ada, 'ada');
  const address = new URL(ada.url());
  expect([address.origin, address.pathname]).toEqual([site.url, '/']);
  expect(address.hash).not.toContain('token');
  expect(await ada.evaluate(() => localStorage.getItem('tidings.user'))).toBe('ada');

  // The token opens the line as well: what one writes reaches the other.
  await ada.goto(`${site.url}/#/u/bob`);
  await ada.fill('#composer', 'by the front door');
  await ada.press('#composer', 'Enter');
  await bob.waitForSelector('text=by the front door');

  await ada.reload();
  await ada.waitForSelector('[data-phase=ready][data-loaded=true]', { state: 'attached' });
});

test("a link with somebody else's token logs nobody in", async () => {
  const answer = await fetch(`${serviceUrl}/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'mal' }),
  });
  const { token } = (await answer.json()) as { token: string };
  const page = await newPage();
  await page.goto(`${site.url}/signed-in#token=${token}&state=guessed`);
  await page.waitForURL(url => url.origin === serviceUrl);
  expect(await page.context().cookies(site.url)).not.toContainEqual(expect.objectContaining({ name: 'tidings_token' }));
});
