/** Nothing that a person types or is called can run, whichever field it comes through. */
import { expect, test } from 'vitest';
import { openStage } from './stage';

const stage = openStage();

const CORPUS = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '"><svg/onload=alert(1)>',
  "'-alert(1)-'",
  'javascript:alert(1)',
  'https://example.org/" onmouseover="alert(1)',
  'http://javascript:alert(1)@example.org',
  '<a href="javascript:alert(1)">x</a>',
  '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
  '<style>*{display:none}</style>',
  '{{constructor.constructor("alert(1)")()}}',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is meant as text
  '${alert(1)}',
  '<math><mtext></table><mglyph><style><!--</style><img src=x onerror=alert(1)>',
  '\u202ehttps://example.org/\u202c',
  '<b>bold</b> & &lt;i&gt;',
  '[x](javascript:alert(1)) ![x](x onerror=alert(1))',
  'data:text/html,<script>alert(1)</script>',
  '__proto__',
  'constructor',
];

test('texts, names, groups, replies, reactions and addresses: shown as they are, nothing runs', async () => {
  const response = await fetch(stage.site.url);
  const policy = response.headers.get('content-security-policy') ?? '';
  expect(policy).toMatch(/script-src 'self'|default-src 'self'/);
  expect(policy).not.toContain('unsafe-inline');
  expect(policy).not.toContain('unsafe-eval');

  await stage.site.know('ada');
  const friends = CORPUS.map((_, index) => `mal-${index}`);
  for (const [index, user] of friends.entries()) {
    const text = CORPUS[index] ?? '';
    await stage.site.say(user, [
      { type: 'profile', name: text },
      { type: 'create', client_msg_id: 'g', name: text.slice(0, 120), members: ['ada'], history: 'all' },
      { type: 'send', to: { user: 'ada' }, client_msg_id: 'm', text },
      { type: 'send', to: { user: 'ada' }, client_msg_id: 'r', text, reply_to: 1 },
    ]);
  }
  const all = CORPUS.map((text, index) => ({
    type: 'send' as const,
    to: { user: 'ada' },
    client_msg_id: `all-${index}`,
    text,
    mentions: [text.slice(0, 120)],
  }));
  await stage.site.say('mallory', all);

  const ada = await stage.arrive('ada');
  await ada.page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', event =>
      console.error(`Content Security Policy: ${event.blockedURI}`),
    );
  });
  await ada.page.reload();
  await ada.connected();
  await ada.open('mallory');
  await ada.message('constructor').first().waitFor();
  const shown: string[] = await ada.texts();
  expect(CORPUS.filter(text => !shown.includes(text))).toEqual([]);
  const links = await ada.page.$$eval('.text a', each => each.map(link => (link as HTMLAnchorElement).protocol));
  expect(links.filter(protocol => protocol !== 'https:' && protocol !== 'http:')).toEqual([]);

  // Each as one's own message, as a search, as a name in the switcher, as an address.
  for (const text of CORPUS) await ada.write(text);
  await ada.page.locator('.receipt.waiting').first().waitFor({ state: 'detached' });
  for (const text of CORPUS) {
    await ada.page.fill('.search input', text);
    await ada.page.goto(`${stage.site.url}/#/u/${encodeURIComponent(text)}`);
    await ada.page.goto(`${stage.site.url}/#/c/${text}`);
  }
  await ada.page.fill('.search input', '');
  await ada.page.keyboard.press('Control+k');
  await ada.page.waitForSelector('.switcher');
  await ada.page.keyboard.press('Escape');
  await ada.open(CORPUS[1] ?? '');
  await ada.page.click('.conversation-head [aria-label=Details]');
  await ada.page.waitForSelector('.details');
  expect(
    await ada.page.evaluate(() => document.querySelectorAll('.message img, .message iframe, .message style').length),
  ).toBe(0);
});

test('strange texts look right: 16 KiB, pure emoji, right to left, towers of marks, one endless word', async () => {
  const texts = [
    'x'.repeat(16_384),
    'a line\n'.repeat(2_000),
    '👩‍👩‍👧‍👦🏳️‍🌈❤️',
    'مرحبا بالعالم https://example.org/?q=1 نهاية',
    `Z${'\u0300\u0301\u0302\u0303\u0304'.repeat(60)}algo`,
    'w'.repeat(900),
  ];
  await stage.site.know('ada');
  await stage.site.say(
    'odd',
    texts.map((text, index) => ({ type: 'send' as const, to: { user: 'ada' }, client_msg_id: `o-${index}`, text })),
  );
  const ada = await stage.arrive('ada');
  await ada.open('odd');
  const looksRight = async () => {
    expect(await ada.page.$eval('.history', list => list.scrollWidth - list.clientWidth)).toBe(0);
    const heights = await ada.page.$$eval('.bubble', all => all.map(each => each.getBoundingClientRect().height));
    expect(Math.max(...heights)).toBeLessThan(900);
  };
  // It opens at what is new: the long ones are not all in sight, so neither are those behind them.
  await ada.message('xxx').waitFor();
  await looksRight();
  await ada.page.click('.to-newest');
  await ada.page.locator('.text.emoji').waitFor();
  await looksRight();
});
