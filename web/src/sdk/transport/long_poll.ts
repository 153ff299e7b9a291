/**
 * Long-poll, for networks that cut streams too: `GET /v1/sync?wait=30` in a loop brings `changes` with tails, frames go
 * by `POST /v1/frames`. Typing and presence do not come this way.
 */
import { Refused } from '../errors';
import type { Changes, Hello } from '../frames';
import type { Http } from '../http';
import type { LinkHandlers, Transport } from '../transport';
import { endCode, Posting, retryAfterMs } from './posting';

const WAIT_S = 30;
const TAIL = 20;

export function longPollTransport(http: Http): Transport {
  return {
    name: 'long_poll',
    beginsWithChanges: true,
    open(hello, handlers) {
      const posting = new Posting(http, handlers);
      const stop = new AbortController();
      poll(http, hello, posting, handlers, stop.signal).catch(error => {
        if (!stop.signal.aborted) handlers.onEnd(endCode(error), String(error), retryAfterMs(error));
      });
      return {
        send: frame => posting.send(frame),
        close() {
          posting.close();
          stop.abort();
        },
      };
    },
  };
}

async function poll(
  http: Http,
  hello: Hello,
  posting: Posting,
  handlers: LinkHandlers,
  signal: AbortSignal,
): Promise<void> {
  let { sync } = hello;
  let wait = 0;
  let isFirst = true;
  while (!signal.aborted) {
    const query = new URLSearchParams({ wait: String(wait), tail: String(TAIL) });
    if (sync !== undefined) query.set('sync', sync);
    const { changes, againMs } = await ask(http, query, signal);
    // There is no `hello` here: the first answer shows that the token is good.
    if (isFirst) posting.receive(welcome(hello, changes?.sync ?? sync ?? ''));
    isFirst = false;
    sync = changes?.sync ?? sync;
    if (changes) posting.receive(changes);
    handlers.onAlive();
    if (againMs > 0 && wait > 0) await pause(againMs, signal);
    wait = changes?.more ? 0 : WAIT_S;
  }
}

/** `changes`: null when nothing is new; `againMs`: how long the server asks to be left alone then. */
async function ask(
  http: Http,
  query: URLSearchParams,
  signal: AbortSignal,
): Promise<{ changes: Changes | null; againMs: number }> {
  try {
    const response = await http.open(`/v1/sync?${query}`, { signal });
    if (response.status !== 204) return { changes: (await response.json()) as Changes, againMs: 0 };
    return { changes: null, againMs: 1_000 * Number(response.headers.get('tidings-poll-after') ?? 0) };
  } catch (error) {
    // A token that nobody can read would lock us out: ask for everything instead.
    if (!(error instanceof Refused && error.code === 'bad_sync' && query.has('sync'))) throw error;
    query.delete('sync');
    return ask(http, query, signal);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function welcome(hello: Hello, sync: string) {
  return {
    type: 'welcome' as const,
    user: hello.username ?? '',
    device: hello.device ?? '',
    session: '',
    sync,
    prefer: null,
    heartbeat_s: 2 * WAIT_S,
    limits: {},
    features: [],
  };
}
