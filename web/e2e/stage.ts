/**
 * What a test file stands on: one browser, one server, and people who come and go. After each test everybody leaves, and
 * nothing may have happened on their screens that must not.
 */
import type { Browser, BrowserContext, BrowserContextOptions } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { launch } from './browser';
import { Person } from './person';
import { Site } from './site';

export interface Stage {
  readonly browser: Browser;
  readonly site: Site;
  /** Somebody opens the page on a device of their own and logs in. `prepare`: what lies between them and the server. */
  arrive(
    name: string,
    options?: BrowserContextOptions,
    prepare?: (context: BrowserContext) => Promise<void>,
  ): Promise<Person>;
}

/** `prepare`: fills the server before the first test. */
export function openStage(prepare: (site: Site) => Promise<void> = async () => undefined): Stage {
  let browser: Browser | undefined;
  let site: Site | undefined;
  let people: Person[] = [];

  beforeAll(async () => {
    [browser, site] = await Promise.all([launch(), Site.start()]);
    await prepare(site);
  });
  afterEach(async () => {
    const gone = people;
    people = [];
    await Promise.all(gone.map(person => person.leave()));
    expect(gone.flatMap(person => person.faults)).toEqual([]);
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  const there = <T>(thing: T | undefined): T => {
    if (thing === undefined) throw new Error('the stage opens before the tests, and not earlier');
    return thing;
  };
  return {
    get browser() {
      return there(browser);
    },
    get site() {
      return there(site);
    },
    async arrive(name, options, prepare) {
      const person = await Person.arrive(there(browser), there(site), name, options, prepare);
      people.push(person);
      return person;
    },
  };
}
