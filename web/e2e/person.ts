/** A person at a screen: what they do, and what they see. */
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from 'playwright-core';
import type { Site } from './site';

export const DESKTOP: BrowserContextOptions = { viewport: { width: 1280, height: 800 } };
export const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
  deviceScaleFactor: 2,
};

/** For whatever is waited for: so that a failure names the step, not the test. */
export const PATIENCE_MS = 15_000;

export class Person {
  /** What must not happen: dialogs, reports of the Content-Security-Policy, errors of the page. */
  readonly faults: string[] = [];

  private constructor(
    readonly name: string,
    readonly site: Site,
    readonly context: BrowserContext,
    readonly page: Page,
  ) {}

  /** Opens the page on a device of its own and logs in. */
  static async arrive(
    browser: Browser,
    site: Site,
    name: string,
    options = DESKTOP,
    prepare: (context: BrowserContext) => Promise<void> = async () => undefined,
  ): Promise<Person> {
    const context = await browser.newContext(options);
    await prepare(context);
    const person = new Person(name, site, context, await context.newPage());
    await person.watch(person.page);
    await person.page.goto(site.url);
    await person.page.fill('#username', name);
    await person.page.click('button[type=submit]');
    await person.page.waitForSelector('.home');
    await person.connected();
    return person;
  }

  /** Another tab of the same browser. */
  async tab(): Promise<Page> {
    const page = await this.context.newPage();
    await this.watch(page);
    await page.goto(this.site.url);
    await page.waitForSelector('.home');
    return page;
  }

  async watch(page: Page): Promise<void> {
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('dialog', dialog => {
      this.faults.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('pageerror', error => this.faults.push(`error: ${error.stack ?? error.message}`));
    page.on('console', message => {
      if (message.text().includes('Content Security Policy')) this.faults.push(message.text());
    });
  }

  /** The line is up and the list of conversations is whole. */
  async connected(): Promise<void> {
    await this.page.waitForSelector('[data-phase=ready][data-loaded=true]', { state: 'attached' });
  }

  /** Presses "Try now" until the line is up. */
  async reconnect(): Promise<void> {
    const banner = this.page.locator('.banner');
    while (await banner.isVisible()) {
      await this.page
        .locator('.banner button')
        .click({ timeout: 1_000 })
        .catch(() => undefined);
    }
    await this.connected();
  }

  item(name: string): Locator {
    return this.page.locator('.item', { has: this.page.locator('.item-name', { hasText: name }) });
  }

  message(text: string): Locator {
    return this.page.locator('.message', { has: this.page.locator('.text', { hasText: text }) });
  }

  async open(name: string): Promise<void> {
    await this.item(name).first().click();
    await this.page.waitForSelector('#composer');
  }

  /** By the dialog, as for somebody new. */
  async writeTo(user: string, text: string): Promise<void> {
    await this.page.click('[aria-label="New conversation or group"]');
    await this.page.click('.menu-act:has-text("New conversation")');
    await this.page.fill('#new-user', user);
    await this.page.click('.dialog button[type=submit]');
    await this.page.waitForSelector('.dialog', { state: 'detached' });
    await this.write(text);
  }

  async write(text: string): Promise<void> {
    await this.page.fill('#composer', text);
    await this.page.click('.send-button');
  }

  /** The texts on screen, from top to bottom. */
  async texts(): Promise<string[]> {
    return this.page.$$eval('.message', rows => {
      const placed = rows.map(row => ({
        top: row.getBoundingClientRect().top,
        text: row.querySelector('.text')?.textContent ?? '',
      }));
      return placed.sort((one, other) => one.top - other.top).map(row => row.text);
    });
  }

  /** Waits for a message's ticks. */
  async ticks(text: string, state: 'sent' | 'delivered' | 'read'): Promise<void> {
    await this.message(text).locator(`.receipt.${state}`).waitFor();
  }

  /** By Escape; a key that comes while the dialog still closes would be the dialog's. */
  async closeDialog(): Promise<void> {
    await this.page.keyboard.press('Escape');
    await this.page.waitForSelector('.dialog', { state: 'detached' });
  }

  async leave(): Promise<void> {
    await this.context.close();
  }
}
