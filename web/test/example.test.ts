/** The example of `src/sdk/README.md`, run as it stands there (but for the server's address). */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { itemAt, itemName, unreadTotal } from '../src/sdk';
import { openClient } from './harness';
import { MockServer } from './mock_server';

test('the example of the documentation says what it promises', async () => {
  const server = new MockServer();
  await openClient(server, 'bob');
  const lines: string[] = [];
  const example = /```ts\n([\s\S]*?)```/.exec(readFileSync('src/sdk/README.md', 'utf8'))?.[1] ?? '';
  expect(example.trim().split('\n').length).toBeLessThanOrEqual(20);
  const body = example.replace(/^import .*\n/m, '').replace(/: (Client|string)\b/g, '');
  const run = new Function(
    'Client',
    'itemAt',
    'itemName',
    'unreadTotal',
    'console',
    `return (async () => {${body}})()`,
  );
  const open = { open: (options: { username: string }) => openClient(server, options.username) };
  await run(open, itemAt, itemName, unreadTotal, { log: (line: string) => lines.push(line) });
  expect(lines).toContain('sent as 1 at bob');
});
