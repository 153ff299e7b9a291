/** The transports over HTTP, against a server made of canned answers: frames come in order and go in order. */
import { expect, test } from 'vitest';
import type { Outgoing, ServerFrame } from '../src/sdk/frames';
import { Http } from '../src/sdk/http';
import type { Link, Transport } from '../src/sdk/transport';
import { longPollTransport } from '../src/sdk/transport/long_poll';
import { sseTransport } from '../src/sdk/transport/sse';

type Answer = (url: URL, init: RequestInit) => Response | Promise<Response>;

/** Paths to answers; what was asked is kept. */
class FakeServer {
  readonly calls: { path: string; body: unknown }[] = [];
  constructor(private readonly answers: Record<string, Answer>) {}

  fetch: typeof fetch = async (input, init = {}) => {
    const url = new URL(String(input));
    this.calls.push({ path: url.pathname + url.search, body: init.body ? JSON.parse(String(init.body)) : null });
    const answer = this.answers[url.pathname];
    if (!answer) return new Response('{}', { status: 404 });
    return new Promise((resolve, reject) => {
      init.signal?.addEventListener('abort', () => reject(new DOMException('stopped', 'AbortError')));
      Promise.resolve(answer(url, init)).then(resolve, reject);
    });
  };

  http(): Http {
    return new Http('http://fake.test', { username: 'ada', device: 'd' }, this.fetch);
  }
}

const login: Answer = () => Response.json({ token: 't-1', user: 'ada', device: 'd' });
const never = new Promise<Response>(() => undefined);
const changes = (sync: string): ServerFrame => {
  return { type: 'changes', items: [], removed: [], sync, more: false, full: false };
};

interface Opened {
  link: Link;
  frames: ServerFrame[];
  ended: Promise<number>;
  until(count: number): Promise<void>;
}

function open(transport: Transport): Opened {
  const frames: ServerFrame[] = [];
  const waiting: { count: number; resolve: () => void }[] = [];
  let end: (code: number) => void = () => undefined;
  const ended = new Promise<number>(resolve => {
    end = resolve;
  });
  const link = transport.open(
    { type: 'hello', username: 'ada', device: 'd', sync: 't-0', tail: 5 },
    {
      onFrame(frame) {
        frames.push(frame);
        for (const each of waiting) if (frames.length >= each.count) each.resolve();
      },
      onAlive: () => undefined,
      onEnd: code => end(code),
    },
  );
  const until = (count: number) =>
    new Promise<void>(resolve => {
      if (frames.length >= count) resolve();
      else waiting.push({ count, resolve });
    });
  return { link, frames, ended, until };
}

/** Bytes in the parts given: events and characters are cut where a network would cut them. */
function stream(parts: string[], isEnded: boolean): Response {
  const bytes = new TextEncoder().encode(parts.join(''));
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += 7) controller.enqueue(bytes.slice(at, at + 7));
      if (isEnded) controller.close();
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

const PING: ServerFrame = { type: 'ping' };
const ENTRY: ServerFrame = { type: 'entry', conversation: 'c', seq: 1, kind: 'message', from: 'bøb', text: 'schön 👍' };

test('SSE: frames come whole and in order, comments are signs of life, a planned end carries its code', async () => {
  const parts = [
    ': hello\n\n',
    `id: t-1\ndata: ${JSON.stringify(PING)}\n\n`,
    `data: ${JSON.stringify(ENTRY)}\r\n\r\n`,
    'data: {"type":"close","code":3000,"reason":"draining"}\n\n',
  ];
  const server = new FakeServer({ '/v1/login': login, '/v1/events': () => stream(parts, true) });
  const { frames, ended } = open(sseTransport(server.http()));
  expect(await ended).toBe(3000);
  expect(frames).toEqual([PING, ENTRY]);
  expect(server.calls.at(-1)?.path).toBe('/v1/events?sync=t-0&tail=5');
});

test('SSE: frames go by POST in the order sent, one call under way; what gathers goes together', async () => {
  let release: () => void = () => undefined;
  const held = new Promise<void>(resolve => {
    release = resolve;
  });
  const server = new FakeServer({
    '/v1/login': login,
    '/v1/events': () => stream([], false),
    '/v1/frames': async (_url, init) => {
      await held;
      const { frames } = JSON.parse(String(init.body)) as { frames: Outgoing[] };
      return Response.json({ answers: frames.map(frame => ({ type: 'ok', re: frame.id })) });
    },
  });
  const { link, frames, until } = open(sseTransport(server.http()));
  link.send({ type: 'inbox', id: 1 });
  await Promise.resolve();
  for (const id of [2, 3]) link.send({ type: 'inbox', id });
  link.send({ type: 'ping' });
  release();
  await until(3);
  expect(frames).toEqual([1, 2, 3].map(re => ({ type: 'ok', re })));
  const posted = server.calls.filter(call => call.path === '/v1/frames');
  expect(posted.map(call => (call.body as { frames: Outgoing[] }).frames.length)).toEqual([1, 2]);
  link.close();
});

test('frames that are too many bytes for one call go in several, in order', async () => {
  const server = new FakeServer({
    '/v1/login': login,
    '/v1/events': () => stream([], false),
    '/v1/frames': (_url, init) => {
      expect(String(init.body).length).toBeLessThan(64 * 1024);
      const { frames } = JSON.parse(String(init.body)) as { frames: Outgoing[] };
      return Response.json({ answers: frames.map(frame => ({ type: 'ok', re: frame.id })) });
    },
  });
  const { link, frames, until } = open(sseTransport(server.http()));
  const ids = Array.from({ length: 12 }, (_, index) => index);
  for (const id of ids) {
    link.send({ type: 'send', id, to: { user: 'bob' }, client_msg_id: `c-${id}`, text: 'x'.repeat(16_000) });
  }
  await until(ids.length);
  expect(frames).toEqual(ids.map(re => ({ type: 'ok', re })));
  link.close();
});

test('what streams in while a sync is under way comes behind its answer, which is older', async () => {
  let feed: (frame: ServerFrame) => void = () => undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      feed = frame => controller.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(frame)}\n\n`));
    },
  });
  let answer: (response: Response) => void = () => undefined;
  const server = new FakeServer({
    '/v1/login': login,
    '/v1/events': () => new Response(body),
    '/v1/frames': () =>
      new Promise(resolve => {
        answer = resolve;
      }),
  });
  const { link, frames, until } = open(sseTransport(server.http()));
  feed(PING);
  await until(1);
  link.send({ type: 'sync', id: 1 });
  while (!server.calls.some(call => call.path === '/v1/frames')) await Promise.resolve();
  feed(ENTRY);
  // The stream is read by now: whatever came is either handed on or held.
  await new Promise(resolve => setImmediate(resolve));
  expect(frames).toEqual([PING]);
  answer(Response.json({ answers: [{ ...changes('t-9'), re: 1 }] }));
  await until(3);
  expect(frames.map(frame => frame.type)).toEqual(['ping', 'changes', 'entry']);
  link.close();
});

test('a token that is taken no more is renewed once, then the refusal stands', async () => {
  const shown: (string | null)[] = [];
  const asked: (string | undefined)[] = [];
  const http = new Http(
    'http://fake.test',
    {
      device: 'd',
      token: refused => {
        asked.push(refused);
        return refused === undefined ? 'old' : 'new';
      },
    },
    async (_input, init) => {
      const token = new Headers(init?.headers).get('authorization');
      shown.push(token);
      return token === 'Bearer new' ? Response.json({}) : Response.json({ code: 'unauthenticated' }, { status: 401 });
    },
  );
  await http.get('/v1/me');
  expect(asked).toEqual([undefined, 'old']);
  expect(shown).toEqual(['Bearer old', 'Bearer new']);
  const never = new Http('http://fake.test', { device: 'd', token: () => 'old' }, async () =>
    Response.json({ code: 'unauthenticated' }, { status: 401 }),
  );
  await expect(never.get('/v1/me')).rejects.toMatchObject({ code: 'unauthenticated' });
});

test('long-poll: a token that nobody can read is dropped for the whole inbox', async () => {
  const server = new FakeServer({
    '/v1/login': login,
    '/v1/sync': url => {
      if (url.searchParams.get('sync') === 't-0') return Response.json({ code: 'bad_sync' }, { status: 400 });
      if (url.searchParams.get('sync') === 't-1') return never;
      return Response.json({ ...changes('t-1'), full: true });
    },
  });
  const { link, frames, until } = open(longPollTransport(server.http()));
  await until(2);
  expect(frames.at(-1)).toMatchObject({ type: 'changes', full: true });
  link.close();
});

test('long-poll: welcomes itself, follows the token, keeps it when nothing is new', async () => {
  const answers = [changes('t-1'), null, changes('t-2')];
  const server = new FakeServer({
    '/v1/login': login,
    '/v1/sync': () => {
      const next = answers.shift();
      if (next === undefined) return never;
      return next === null ? new Response(null, { status: 204 }) : Response.json(next);
    },
  });
  const { link, frames, until } = open(longPollTransport(server.http()));
  await until(3);
  expect(frames.map(frame => frame.type)).toEqual(['welcome', 'changes', 'changes']);
  const polls = server.calls.filter(call => call.path.startsWith('/v1/sync')).map(call => call.path);
  expect(polls.map(path => new URL(path, 'http://x').searchParams.get('sync')).slice(0, 3)).toEqual([
    't-0',
    't-1',
    't-1',
  ]);
  expect(polls.map(path => new URL(path, 'http://x').searchParams.get('wait')).slice(0, 2)).toEqual(['0', '30']);
  link.close();
});

test.each([sseTransport, longPollTransport])(
  'a refused token ends the link for good, a lost network does not (%o)',
  async make => {
    const refused = new FakeServer({
      '/v1/login': () => Response.json({ code: 'unauthenticated', detail: 'no' }, { status: 401 }),
    });
    expect(await open(make(refused.http())).ended).toBe(3501);
    const gone = new Http('http://fake.test', { username: 'ada', device: 'd' }, () =>
      Promise.reject(new TypeError('gone')),
    );
    expect(await open(make(gone)).ended).toBe(1006);
  },
);

test('one sees one’s devices, names them and logs them out', async () => {
  const phone = { device: 'a phone', name: null, platform: 'Chrome on Android', last_seen: 1, connected: false };
  const server = new FakeServer({
    '/v1/login': login,
    '/v1/me/devices': () => Response.json({ devices: [phone] }),
    '/v1/me/devices/a%20phone': async (_url, init) => {
      if (init.method === 'DELETE') return new Response(null, { status: 204 });
      return Response.json({ ...phone, ...JSON.parse(String(init.body)) });
    },
  });
  const http = server.http();
  expect(await http.get('/v1/me/devices')).toEqual({ devices: [phone] });
  expect(await http.patch('/v1/me/devices/a%20phone', { name: 'Pocket' })).toEqual({ ...phone, name: 'Pocket' });
  await expect(http.delete('/v1/me/devices/a%20phone')).resolves.toBeUndefined();
});
