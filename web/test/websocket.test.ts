/** The WebSocket transport, with sockets that the test opens and closes. */
import { afterEach, expect, test, vi } from 'vitest';
import { Http } from '../src/sdk/http';
import type { Transport } from '../src/sdk/transport';
import { webSocketTransport } from '../src/sdk/transport/websocket';

class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readonly readyState = FakeSocket.OPEN;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(readonly url: URL) {
    FakeSocket.all.push(this);
  }

  send(): void {}
  close(): void {}

  welcome(prefer: string | null): void {
    this.onmessage?.({ data: JSON.stringify({ type: 'welcome', user: 'ada', prefer }) });
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
  FakeSocket.all = [];
});

function start(base = 'https://chat.example'): () => FakeSocket {
  vi.stubGlobal('WebSocket', FakeSocket);
  const transport: Transport = webSocketTransport(new Http(base, { username: 'ada', device: 'd' }));
  const handlers = { onFrame: () => undefined, onAlive: () => undefined, onEnd: () => undefined };
  return () => {
    transport.open({ type: 'hello', username: 'ada', device: 'd', tail: 0 }, handlers);
    return last();
  };
}

function last(): FakeSocket {
  const socket = FakeSocket.all.at(-1);
  if (!socket) throw new Error('nothing was opened');
  return socket;
}

test('the next socket goes where the server prefers it, and the one after stays there', () => {
  const open = start();
  const first = open();
  expect(first.url.href).toBe('wss://chat.example/v1/ws');
  first.welcome('https://node-2.chat.example');
  const second = open();
  expect(second.url.href).toBe('wss://node-2.chat.example/v1/ws');
  second.welcome(null);
  expect(open().url.host).toBe('node-2.chat.example');
});

test('what is preferred and fails is given up at once, for a while', () => {
  vi.useFakeTimers();
  const open = start();
  open().welcome('https://node-2.chat.example');
  open().onclose?.({ code: 1006, reason: '' });
  expect(last().url.host, 'opened again without a wait').toBe('chat.example');
  last().welcome('https://node-2.chat.example');
  expect(open().url.host).toBe('chat.example');
  vi.advanceTimersByTime(600_000);
  last().welcome('https://node-2.chat.example');
  expect(open().url.host).toBe('node-2.chat.example');
});

test('nothing plain is opened from what is not, and no nonsense', () => {
  const open = start();
  for (const prefer of ['http://node-2.chat.example', 'nonsense', '']) {
    open().welcome(prefer);
    expect(open().url.host, prefer).toBe('chat.example');
  }
});
