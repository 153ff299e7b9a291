/**
 * Server-Sent Events, for networks that block WebSocket: frames come by `GET /v1/events`, go by `POST /v1/frames`.
 * Read with `fetch`, not `EventSource`: so the token stays in a header and the reconnecting stays with the connection.
 */
import type { Hello, ServerFrame } from '../frames';
import type { Http } from '../http';
import type { LinkHandlers, Transport } from '../transport';
import { endCode, Posting, retryAfterMs } from './posting';

export function sseTransport(http: Http): Transport {
  return {
    name: 'sse',
    open(hello, handlers) {
      const posting = new Posting(http, handlers);
      const stop = new AbortController();
      void read(http, hello, posting, handlers, stop.signal);
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

async function read(
  http: Http,
  hello: Hello,
  posting: Posting,
  handlers: LinkHandlers,
  signal: AbortSignal,
): Promise<void> {
  let end: { code: number; reason: string; retryAfterMs?: number | null } = { code: 1006, reason: 'stream ended' };
  try {
    const query = new URLSearchParams();
    if (hello.sync !== undefined) query.set('sync', hello.sync);
    if (hello.tail !== undefined) query.set('tail', String(hello.tail));
    const response = await http.open(`/v1/events?${query}`, { signal, headers: { accept: 'text/event-stream' } });
    for await (const data of events(response, handlers.onAlive)) {
      const frame = JSON.parse(data) as ServerFrame;
      if (frame.type === 'close') end = { code: frame.code, reason: frame.reason };
      else posting.receive(frame);
    }
  } catch (error) {
    end = { code: endCode(error), reason: String(error), retryAfterMs: retryAfterMs(error) };
  }
  if (!signal.aborted) handlers.onEnd(end.code, end.reason, end.retryAfterMs);
}

/** The `data:` of each event; lines of one event are joined as the standard says. */
async function* events(response: Response, onAlive: () => void): AsyncGenerator<string> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let data: string[] = [];
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    onAlive();
    const lines = (rest + part.value).split(/\r\n|\n|\r/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      else if (line === '' && data.length > 0) {
        yield data.join('\n');
        data = [];
      }
    }
  }
}
