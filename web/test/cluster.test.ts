/** What operators are told of a fleet. */
import { expect, test } from 'vitest';
import { type Fleet, type FleetNode, rowsOf, summaryOf } from '../src/app/cluster/fleet';

function node(name: string, more: Partial<FleetNode> = {}): FleetNode {
  const about = { url: null, address: `${name}:8090`, weight: 1, state: 'live' as const, quiet_ms: 400 };
  return { id: `id-of-${name}`, name, ...about, is_silent: false, hosted: 100, wished: 100, answers: false, ...more };
}

function fleet(nodes: FleetNode[], more: Partial<Fleet> = {}): Fleet {
  return { is_alone: false, view_epoch: 7, counted_epoch: 7, shards: 16_384, moving: 0, nodes, ...more };
}

test('each node has its state, its shards and what may be done with it', () => {
  const rows = rowsOf(
    fleet([
      node('one', { answers: true, url: 'https://one.example' }),
      node('two', { state: 'draining', hosted: 50, wished: 0 }),
      node('three', { quiet_ms: 8_400, is_silent: true, wished: 200 }),
      node('four', { name: null, id: 'f00dfeedbeef', state: 'gone', quiet_ms: 300_000, is_silent: true, wished: 0 }),
    ]),
  );
  expect(rows.map(row => [row.name, row.state, row.tone])).toEqual([
    ['one', 'live', 'well'],
    ['two', 'draining', 'busy'],
    ['three', 'silent', 'bad'],
    ['f00dfeed', 'gone', 'bad'],
  ]);
  expect(rows.map(row => row.shards)).toEqual(['100', '50 of 0', '100 of 200', '100 of 0']);
  expect(rows.map(row => [row.hosted, row.wished])).toEqual([
    [50, 50],
    [25, 0],
    [50, 100],
    [50, 0],
  ]);
  expect(rows.map(row => row.quiet)).toEqual(['now', 'now', '8 s ago', '5 min ago']);
  expect(rows.map(row => [row.canDrain, row.canRemove, row.needsForce])).toEqual([
    [true, false, true],
    [false, true, true],
    [true, true, false],
    [false, false, false],
  ]);
  expect(rows.map(row => [row.note, row.place])[0]).toEqual(['answers here', 'https://one.example']);
});

test('nobody is asked to drain when nobody else could take its shards', () => {
  const rows = rowsOf(fleet([node('one'), node('two', { state: 'draining' })]));
  expect(rows.map(row => row.canDrain)).toEqual([false, false]);
});

test('a server alone can be looked at and no more', () => {
  const alone = fleet([node('one', { answers: true, hosted: 16_384, wished: 16_384 })], { is_alone: true });
  expect(rowsOf(alone).map(row => [row.canDrain, row.canRemove, row.note])).toEqual([[false, false, '']]);
  expect(summaryOf(alone)).toBe('This server works alone. There is no fleet.');
});

test('the sum says what is on its way', () => {
  const nodes = [node('one'), node('two'), node('gone', { state: 'gone' })];
  expect(summaryOf(fleet(nodes))).toBe('2 nodes. Every shard is where it should be.');
  expect(summaryOf(fleet(nodes, { moving: 1_234 }))).toBe('2 nodes. 1,234 of 16,384 shards are on their way.');
  expect(summaryOf(fleet(nodes.slice(0, 1), { counted_epoch: 6 }))).toBe(
    'One node. The shards are being counted anew.',
  );
});
