/** Code, links, mentions and emoji in texts. */
import { expect, test } from 'vitest';
import { beginning, isOnlyEmoji, mentionsIn, segments } from '../src/app/text/segments';

const links = (text: string) => segments(text).flatMap(part => (part.kind === 'link' ? [[part.text, part.href]] : []));

test.each([
  ['see https://example.org/a.', [['https://example.org/a', 'https://example.org/a']]],
  ['(https://example.org/x_(y))', [['https://example.org/x_(y)', 'https://example.org/x_(y)']]],
  ['www.example.org!', [['www.example.org', 'https://www.example.org/']]],
  ['javascript:alert(1) data:text/html,x ftp://a.b', []],
  ['https://example.org/"onx=1', [['https://example.org/', 'https://example.org/']]],
  ['http://', []],
])('links of %j', (text, expected) => expect(links(text)).toEqual(expected));

test('cutting a text loses nothing of it', () => {
  const text = 'Hi @ada and @ada-lee, https://example.org/?q=@ada … <b>@all</b>';
  const parts = segments(text, ['ada', 'ada-lee', '@all']);
  expect(parts.map(part => part.text).join('')).toBe(text);
  expect(parts.filter(part => part.kind === 'mention').map(part => part.text)).toEqual(['@ada', '@ada-lee', '@all']);
});

test('a mention within a longer name is none', () => {
  const found = segments('@anna and @ann', ['ann']).map(part => [part.kind, part.text]);
  expect(found).toEqual([
    ['text', '@anna and '],
    ['mention', '@ann'],
  ]);
});

test.each([
  ['a `b c` d', [['b c', false]]],
  ['so:\n```rust\nlet x;\n\n  y\n```\nend', [['let x;\n\n  y', true]]],
  ['```one line```', [['one line', true]]],
  ['```\nopen', []],
  ['`` it`s 5 or 6` `\n`', []],
])('code of %j', (text, expected) => {
  const found = segments(text).flatMap(part => (part.kind === 'code' ? [[part.text, part.isBlock]] : []));
  expect(found).toEqual(expected);
});

test('what is folded within a block of code ends it', () => {
  expect(beginning('a\n```\nb\nc\n```', 3, 100)).toBe('a\n```\nb\n```');
  expect(beginning('a\nb\nc', 2, 100)).toBe('a\nb');
  expect(beginning('ab🎉', 9, 3)).toBe('ab');
});

test.each(['``````', '` `', 'a ``` never ends'])('%j is shown as it is', text => {
  expect(segments(text).map(part => [part.kind, part.text])).toEqual([['text', text]]);
});

test('in code nothing is a link or a mention', () => {
  const kinds = segments('`https://example.org @ada`', ['ada']).map(part => part.kind);
  expect(kinds).toEqual(['code']);
});

test('only known names are mentions, and whole ones', () => {
  expect(mentionsIn('@ada @bobby mail@eve.example', ['ada', 'bob', 'eve', '@all'])).toEqual(['ada']);
});

test.each(['👍', '❤️', '🎉🚢', '👩‍👩‍👧‍👦🏳️‍🌈', '👋🏽', '🇩🇪', '3️⃣'])('%s is only emoji', text =>
  expect(isOnlyEmoji(text)).toBe(true),
);
test.each(['', '3', '12#', 'a👍', '👍👍👍👍👍👍👍', '©a'])('%j is not', text => expect(isOnlyEmoji(text)).toBe(false));
