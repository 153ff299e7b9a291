/** What is wrong with a page for those who cannot see it well, or at all. */
import axe from 'axe-core';
import type { Page } from 'playwright-core';

/**
 * What axe finds, of any weight, once nothing moves any more: what is half faded in has half its contrast. One rule is left out: on
 * a phone one part of the page is all there is, and its heading may be of the second level.
 */
export async function findings(page: Page): Promise<string[]> {
  await page.evaluate(async () => {
    const moving = document.getAnimations().filter(each => Number.isFinite(each.effect?.getComputedTiming().endTime));
    await Promise.allSettled(moving.map(each => each.finished));
  });
  // Run in the page's own world: its policy lets no script in, the driver's is exempt.
  await page.evaluate(axe.source);
  const { violations } = (await page.evaluate(() =>
    (window as unknown as { axe: typeof axe }).axe.run({ rules: { 'page-has-heading-one': { enabled: false } } }),
  )) as { violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] };
  return violations.flatMap(each =>
    each.nodes.map(node => `${each.id}: ${node.html.slice(0, 200)} ${node.failureSummary ?? ''}`),
  );
}
