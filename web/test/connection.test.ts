/** Coming back: back-off, advice of close codes, silence, moving over, other transports. Time is fake. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Status } from '../src/sdk';
import { Connection, type ConnectionOptions } from '../src/sdk/connection';
import { Disconnected } from '../src/sdk/errors';
import type { Outgoing, ServerFrame } from '../src/sdk/frames';
import type { LinkHandlers, Transport } from '../src/sdk/transport';
import { FakeNetwork } from './harness';

interface FakeLink extends LinkHandlers {
  transport: string;
  said: Outgoing[];
  isClosed: boolean;
}

const WELCOME: ServerFrame = {
  type: 'welcome',
  user: 'ada',
  device: 'd',
  session: 's',
  sync: 't',
  prefer: null,
  heartbeat_s: 20,
  limits: {},
  features: [],
};

let links: FakeLink[];
let statuses: Status[];
let frames: ServerFrame[];
let network: FakeNetwork;

const last = (): FakeLink => links.at(-1) as FakeLink;
const status = (): Status => statuses.at(-1) as Status;

function fakeTransport(name: Transport['name']): Transport {
  return {
    name,
    open(hello, handlers) {
      const link: FakeLink = { ...handlers, transport: name, said: [hello], isClosed: false };
      links.push(link);
      return {
        send: frame => void link.said.push(frame),
        close: () => {
          link.isClosed = true;
        },
      };
    },
  };
}

function open(more: Partial<ConnectionOptions> = {}): Connection {
  const connection = new Connection({
    transports: [fakeTransport('websocket')],
    network,
    hello: () => ({ type: 'hello', username: 'ada' }),
    onFrame: frame => frames.push(frame),
    onStatus: each => statuses.push(each),
    random: () => 1,
    ...more,
  });
  connection.start();
  return connection;
}

beforeEach(() => {
  vi.useFakeTimers();
  links = [];
  statuses = [];
  frames = [];
  network = new FakeNetwork();
});
afterEach(() => vi.useRealTimers());

describe('coming back', () => {
  test('waits twice as long each time, up to 30 s, and says when the next try is due', () => {
    open();
    const waits = Array.from({ length: 9 }, () => {
      last().onEnd(1006, '');
      const waitMs = (status().next_try_at ?? 0) - Date.now();
      vi.advanceTimersByTime(waitMs - 1);
      const before = links.length;
      vi.advanceTimersByTime(1);
      expect(links.length).toBe(before + 1);
      return waitMs;
    });
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  });

  test('jitter spreads over the whole wait', () => {
    open({ random: () => 0.25 });
    last().onEnd(1006, '');
    expect((status().next_try_at ?? 0) - Date.now()).toBe(125);
  });

  test('a connection that lived 30 s starts the waits anew; a shorter one does not', () => {
    open();
    const liveFor = (ms: number): number => {
      last().onFrame(WELCOME);
      for (let passed = 0; passed < ms; passed += 1000) {
        vi.advanceTimersByTime(1000);
        last().onAlive();
      }
      last().onEnd(1006, '');
      const waitMs = (status().next_try_at ?? 0) - Date.now();
      vi.advanceTimersByTime(waitMs);
      return waitMs;
    };
    expect([liveFor(5_000), liveFor(5_000), liveFor(31_000)]).toEqual([500, 1000, 500]);
  });

  test.each([3000, 3001, 3004, 1006, 1012])('close %i: comes back', code => {
    open();
    last().onFrame(WELCOME);
    last().onEnd(code, 'x');
    expect(status().phase).toBe('offline');
    expect(status().next_try_at).toBeDefined();
  });

  test.each([3500, 3501, 3502, 3503])('close %i: stays away', code => {
    open();
    last().onFrame(WELCOME);
    last().onEnd(code, 'replaced');
    expect(status()).toEqual({ phase: 'ended', reason: 'replaced' });
    vi.advanceTimersByTime(120_000);
    expect(links).toHaveLength(1);
  });

  test('a refused hello ends it; a server that is not available is tried again', () => {
    open();
    last().onFrame({ type: 'error', re: null, code: 'unavailable', message: 'later', retry_after_ms: null });
    expect(status().phase).toBe('offline');
    vi.advanceTimersByTime(500);
    last().onFrame({ type: 'error', re: null, code: 'bad_request', message: 'no such name', retry_after_ms: null });
    expect(status()).toEqual({ phase: 'ended', reason: 'no such name' });
  });

  test('a server that says when to come back is left alone until then, also by another transport', () => {
    open({ transports: [fakeTransport('websocket'), fakeTransport('sse')], random: () => 0 });
    for (let n = 0; n < 4; n++) {
      const before = links.length;
      const later = { type: 'error', re: null, code: 'unavailable', message: 'crowd', retry_after_ms: 9_000 } as const;
      last().onFrame(later);
      expect(status()).toMatchObject({ phase: 'offline', next_try_at: Date.now() + 9_000 });
      vi.advanceTimersByTime(8_999);
      expect(links).toHaveLength(before);
      vi.advanceTimersByTime(1);
      expect(links).toHaveLength(before + 1);
      expect(last().transport).toBe('websocket');
    }
  });

  test('without a network nothing is tried; with it again at once', () => {
    open();
    network.set(false);
    expect(status()).toEqual({ phase: 'offline' });
    expect(last().isClosed).toBe(true);
    vi.advanceTimersByTime(60_000);
    expect(links).toHaveLength(1);
    network.set(true);
    expect(links).toHaveLength(2);
  });

  test('a transport that never gets through gives way to the next, which is kept while it works', () => {
    open({ transports: [fakeTransport('websocket'), fakeTransport('sse'), fakeTransport('long_poll')] });
    const fail = () => {
      last().onEnd(1006, '');
      vi.advanceTimersByTime((status().next_try_at ?? 0) - Date.now());
    };
    for (let index = 0; index < 6; index += 1) fail();
    expect(links.map(link => link.transport)).toEqual([
      'websocket',
      'websocket',
      'sse',
      'sse',
      'long_poll',
      'long_poll',
      'websocket',
    ]);
    fail();
    fail();
    last().onFrame({ ...WELCOME, heartbeat_s: 300 });
    expect(status()).toEqual({ phase: 'ready', transport: 'sse' });
    // It worked: a cut does not begin at the blocked one again.
    fail();
    expect(last().transport).toBe('sse');
  });

  test('the preferred transport is tried again, ever more seldom, and taken as soon as it works', async () => {
    const connection = open({ transports: [fakeTransport('websocket'), fakeTransport('sse')] });
    for (let index = 0; index < 2; index += 1) {
      last().onEnd(1006, '');
      vi.advanceTimersByTime((status().next_try_at ?? 0) - Date.now());
    }
    const standIn = last();
    standIn.onFrame({ ...WELCOME, heartbeat_s: 3_000 });
    for (const waitMs of [5_000, 10_000, 20_000, 40_000]) {
      vi.advanceTimersByTime(waitMs - 1);
      expect(last().transport).toBe('sse');
      vi.advanceTimersByTime(1);
      expect(last().transport).toBe('websocket');
      last().onEnd(1006, '');
      links.pop();
    }
    vi.advanceTimersByTime(80_000);
    expect(standIn.isClosed).toBe(false);
    last().onFrame(WELCOME);
    expect(status()).toEqual({ phase: 'ready', transport: 'websocket' });
    expect(statuses.map(each => each.phase).filter(phase => phase === 'offline')).toHaveLength(2);
    void connection.request({ type: 'inbox' }).catch(() => undefined);
    await vi.advanceTimersByTimeAsync(0);
    expect(last().said.at(-1)).toMatchObject({ type: 'inbox' });
    expect(standIn.isClosed).toBe(true);
  });
});

describe('a line', () => {
  test('asks for a sign of life after a silent interval and ends after 2.5', () => {
    open();
    last().onFrame(WELCOME);
    vi.advanceTimersByTime(20_000);
    expect(last().said.at(-1)).toEqual({ type: 'ping' });
    vi.advanceTimersByTime(29_000);
    expect(status().phase).toBe('ready');
    vi.advanceTimersByTime(1_000);
    expect(status().phase).toBe('offline');
  });

  test('answers pings, and is given up when no welcome comes', () => {
    open();
    last().onFrame({ type: 'ping' });
    expect(last().said.at(-1)).toEqual({ type: 'pong' });
    vi.advanceTimersByTime(10_000);
    expect(status().phase).toBe('offline');
  });

  test('matches answers to requests in any order, and rejects what was not answered', async () => {
    const connection = open();
    last().onFrame(WELCOME);
    const one = connection.request({ type: 'sync' });
    const other = connection.request({ type: 'inbox' });
    last().onFrame({ type: 'error', re: 2, code: 'bad_request', message: 'no', retry_after_ms: null });
    await expect(other).rejects.toMatchObject({ code: 'bad_request' });
    last().onEnd(1006, '');
    await expect(one).rejects.toBeInstanceOf(Disconnected);
    await expect(connection.request({ type: 'sync' })).rejects.toBeInstanceOf(Disconnected);
  });
});

describe('move', () => {
  test('the new line is made before the old one is let go, and the old one gives its answers', async () => {
    const connection = open({ random: () => 0.5 });
    last().onFrame(WELCOME);
    const answer = connection.request({ type: 'sync' });
    last().onFrame({ type: 'move', after_ms: 3_000 });
    vi.advanceTimersByTime(1_499);
    expect(links).toHaveLength(1);
    vi.advanceTimersByTime(1);
    const [old, next] = links as [FakeLink, FakeLink];
    expect(old.isClosed).toBe(false);
    next.onFrame(WELCOME);
    expect(old.isClosed).toBe(false);
    expect(status().phase).toBe('ready');
    old.onFrame({ type: 'ok', re: 1 });
    await expect(answer).resolves.toMatchObject({ type: 'ok' });
    await vi.advanceTimersByTimeAsync(0);
    expect(old.isClosed).toBe(true);
    void connection.request({ type: 'inbox' }).catch(() => undefined);
    expect(next.said.at(-1)).toMatchObject({ type: 'inbox' });
    expect(statuses.map(each => each.phase)).not.toContain('offline');
  });

  test('what is asked after the change-over does not overtake what is under way on the old line', async () => {
    const connection = open({ random: () => 0 });
    last().onFrame(WELCOME);
    const answered = connection.request({ type: 'sync' });
    last().onFrame({ type: 'move', after_ms: 1 });
    vi.advanceTimersByTime(0);
    const [old, next] = links as [FakeLink, FakeLink];
    next.onFrame(WELCOME);
    const later = connection.request({ type: 'inbox' });
    expect(next.said.map(frame => frame.type)).toEqual(['hello']);
    old.onFrame({ type: 'ok', re: 1 });
    await answered;
    await vi.advanceTimersByTimeAsync(0);
    expect(next.said.map(frame => frame.type)).toEqual(['hello', 'inbox']);
    next.onFrame({ type: 'ok', re: 1 });
    await expect(later).resolves.toMatchObject({ type: 'ok' });
  });

  test('if the old line gives no answers, what waited behind them fails with them, to be asked again in order', async () => {
    const connection = open({ random: () => 0 });
    last().onFrame(WELCOME);
    const failed: string[] = [];
    connection.request({ type: 'sync' }).catch(() => failed.push('first'));
    last().onFrame({ type: 'move', after_ms: 1 });
    vi.advanceTimersByTime(0);
    last().onFrame(WELCOME);
    connection.request({ type: 'inbox' }).catch(() => failed.push('second'));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(failed).toEqual(['first', 'second']);
    expect(status().phase).toBe('ready');
  });

  test('a change-over that fails leaves the old line in service', () => {
    open({ random: () => 0 });
    last().onFrame(WELCOME);
    last().onFrame({ type: 'move', after_ms: 100 });
    vi.advanceTimersByTime(0);
    last().onEnd(1006, '');
    expect(links[0]?.isClosed).toBe(false);
    expect(status().phase).toBe('ready');
  });
});
