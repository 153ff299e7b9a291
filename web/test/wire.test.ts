/** The wire's types are those of the Rust sources. When they drift this fails; `npm run types` makes them anew. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { wireTypes } from '../build/wire_types';

const SOURCES = join(import.meta.dirname, '../../crates/tidings-proto/src');
const read = (file: string): string => readFileSync(join(SOURCES, file), 'utf8');

test('the types of the wire are made from the Rust types', async () => {
  const { client, server } = wireTypes(read);
  await expect(client).toMatchFileSnapshot('../src/sdk/wire/client.ts');
  await expect(server).toMatchFileSnapshot('../src/sdk/wire/server.ts');
});

test.each([
  ['a field is called otherwise', 'pub heartbeat_s: u64', 'pub heartbeat_ms: u64', 'heartbeat_ms: number'],
  ['a field may not be absent', 'pub next: Option<String>', 'pub next: String', 'next: string;'],
  ['a type of frame is new', '"pong" Pong Beat,', '"pong" Pong Beat,\n    "tip" Tip Beat,', "{ type: 'tip' } & Beat"],
  ['a kind is new', '    Tip,\n', '    Tip,\n    ListPost,\n', "| 'list_post'"],
])('%s: the types follow', (_, from, to, expected) => {
  expect(wireTypes(read).server).not.toContain(expected);
  expect(wireTypes(file => read(file).replace(from, to)).server).toContain(expected);
});

test('a shape that is not understood is refused, not guessed', () => {
  const strange = (file: string) => read(file).replace('pub after_ms: u64', 'pub after_ms: Duration<u64>');
  expect(() => wireTypes(strange)).toThrow('Duration');
});
