/** Names and times in few letters. */
import { expect, test } from 'vitest';
import { initials, typedName } from '../src/app/text/names';
import { lastSeen, shortTime } from '../src/app/text/time';

test('a date of another year says the year', () => {
  const now = new Date(2026, 10, 22, 12).getTime();
  const old = new Date(2005, 4, 14, 12).getTime();
  const recent = new Date(2026, 4, 14, 12).getTime();
  expect(shortTime(old, now)).toContain('2005');
  expect(lastSeen(old, now)).toContain('2005');
  expect(shortTime(recent, now)).not.toContain('2026');
});

test.each([
  ['Ada Lovelace', 'AL'],
  ['#ubuntu', 'U'],
  ['Fans of <b>bold</b> 🎉', 'FB'],
  ['🎉', '?'],
])('the initials of %j are %j', (name, expected) => expect(initials(name)).toBe(expected));

test.each([
  [' @bob ', 'bob'],
  ['bob@example.org', 'bob@example.org'],
])('%j is the username %j', (text, expected) => expect(typedName(text)).toBe(expected));
