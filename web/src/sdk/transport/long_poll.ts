/**
 * Long-poll, for networks that cut streams too: `GET /v1/sync?wait=30` in a loop brings `changes` with tails, frames go
 * by `POST /v1/frames`. Typing, presence and receipts do not come this way.
 */
import type { Changes, Hello } from '../frames';
import type { Http } from '../http';
import type { LinkHandlers, Transport } from '../transport';
import { endCode, Posting } from './posting';

const WAIT_S = 30;
const TAIL = 20;

export function longPollTransport(http: Http): Transport {
  return {
    name: 'long_poll',
    open(hello, handlers) {
      const posting = new Posting(http, handlers);
      const stop = new AbortController();
      void poll(http, hello, handlers, stop.signal);
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

async function poll(http: Http, hello: Hello, handlers: LinkHandlers, signal: AbortSignal): Promise<void> {
  try {
    await http.token();
    let sync = hello.sync;
    let wait = 0;
    let isFirst = true;
    while (!signal.aborted) {
      const query = new URLSearchParams({ wait: String(wait), tail: String(TAIL) });
      if (sync !== undefined) query.set('sync', sync);
      const response = await http.open(`/v1/sync?${query}`, { signal });
      const changes = response.status === 204 ? null : ((await response.json()) as Changes);
      if (isFirst) welcome(hello, changes?.sync ?? sync ?? '', handlers);
      isFirst = false;
      if (changes) {
        sync = changes.sync;
        handlers.onFrame({ ...changes, re: null });
      }
      handlers.onAlive();
      wait = changes?.more ? 0 : WAIT_S;
    }
  } catch (error) {
    if (!signal.aborted) handlers.onEnd(endCode(error), String(error));
  }
}

/** There is no `hello` here: the first answer shows that the token is good. */
function welcome(hello: Hello, sync: string, handlers: LinkHandlers): void {
  handlers.onFrame({
    type: 'welcome',
    user: hello.username ?? '',
    device: hello.device ?? '',
    session: '',
    sync,
    prefer: null,
    heartbeat_s: 2 * WAIT_S,
    limits: {},
    features: [],
  });
}
