/**
 * The golden frames that the Rust tests read too. Our types, made from the sources of the Rust ones, must describe each
 * of them to the last field: what serde writes is what stands there. And the reducer takes them all.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { initialState, reduce } from '../src/sdk';
import type { ServerFrame } from '../src/sdk/frames';

const GOLDEN = join(import.meta.dirname, '../../fixtures/frames');
const SCRATCH = join(import.meta.dirname, '../node_modules/.golden');

const files = (side: 'client' | 'server') =>
  readdirSync(join(GOLDEN, side)).map(name => ({ name, text: readFileSync(join(GOLDEN, side, name), 'utf8') }));

/** The frames as literals, each said to be of our type: the compiler objects to what is missing and what is too much. */
function checked(): string {
  const lines = ["import type { Outgoing, ServerFrame } from '../../src/sdk/frames';"];
  for (const { text } of files('client')) lines.push(`export const _${lines.length}: Outgoing = ${text.trim()};`);
  for (const { text } of files('server')) lines.push(`export const _${lines.length}: ServerFrame = ${text.trim()};`);
  return lines.join('\n');
}

function compile(source: string): string {
  mkdirSync(SCRATCH, { recursive: true });
  writeFileSync(join(SCRATCH, 'golden.ts'), source);
  const config = {
    extends: '../../tsconfig.json',
    include: ['golden.ts', '../../src/sdk/frames.ts'],
    compilerOptions: { types: [] },
  };
  writeFileSync(join(SCRATCH, 'tsconfig.json'), JSON.stringify(config));
  try {
    execFileSync(join(SCRATCH, '../.bin/tsc'), ['--noEmit', '-p', SCRATCH], { encoding: 'utf8', stdio: 'pipe' });
    return '';
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

test('our types describe every golden frame, no less and no more', () => {
  expect(compile(checked())).toBe('');
}, 60_000);

test('a frame that drifted is found', () => {
  const drifted = `${checked()}\nexport const wrong: ServerFrame = { type: 'presence', user: 'ada', state: 'away' };`;
  expect(compile(drifted)).toContain('"away"');
}, 60_000);

test('the reducer takes every frame, also with fields it does not know', () => {
  for (const { name, text } of files('server')) {
    const frame = { ...(JSON.parse(text) as ServerFrame), field_of_tomorrow: { is: 'ignored' } };
    const state = reduce(initialState('ada'), { type: 'frame', frame, at: 1 });
    expect(state.me, name).toBeTruthy();
  }
});
