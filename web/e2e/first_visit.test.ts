/** What a first visit costs, on the wire of the real server. */
import type { Response } from 'playwright-core';
import { expect, test } from 'vitest';
import { openStage } from './stage';

const stage = openStage();
const MOST_BYTES = 70 * 1024;

test('a first visit is small and compressed; hashed files are kept for ever, the page is not', async () => {
  const page = await stage.browser.newPage();
  const responses: Response[] = [];
  page.on('response', response => responses.push(response));
  await page.goto(stage.site.url);
  await page.waitForSelector('#username:focus');
  const assets = responses.filter(response => new URL(response.url()).pathname.startsWith('/assets/'));
  expect(assets.map(asset => asset.request().resourceType()).sort()).toEqual(['script', 'stylesheet']);
  for (const asset of assets) {
    expect(asset.headers()['cache-control']).toContain('immutable');
    expect(asset.headers()['content-encoding']).toMatch(/^(br|gzip)$/);
  }
  expect(responses[0]?.headers()['cache-control']).toBe('no-cache');
  const sizes = await Promise.all(responses.map(response => response.request().sizes()));
  const bytes = sizes.reduce((sum, size) => sum + size.responseBodySize + size.responseHeadersSize, 0);
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(MOST_BYTES);
  await page.close();
});
