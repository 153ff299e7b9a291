/** The WebSocket transport: one text frame is one JSON object. */
import type { Hello, Outgoing, ServerFrame } from '../frames';
import type { Http } from '../http';
import type { Link, LinkHandlers, Transport } from '../transport';
import { endCode, retryAfterMs } from './posting';

const SUBPROTOCOL = 'tidings.v1.json';
const TOKEN_EXPIRED = 3003;
const UNAUTHENTICATED = 3501;

export function webSocketTransport(http: Http): Transport {
  const url = new URL('/v1/ws', http.base);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return { name: 'websocket', open: (hello, handlers) => new Socket(http, url, hello, handlers) };
}

class Socket implements Link {
  #socket: WebSocket | null = null;
  #isClosed = false;

  constructor(
    private readonly http: Http,
    private readonly url: URL,
    private readonly hello: Hello,
    private readonly handlers: LinkHandlers,
  ) {
    this.#connect();
  }

  send(frame: Outgoing): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  close(): void {
    this.#isClosed = true;
    this.#drop();
  }

  /** `refused`: a token that was shown already. */
  #connect(refused?: string): void {
    // In open mode the username is enough. A token comes first: a socket that is open has to say hello at once.
    if (!this.http.credentials.token) return this.#open(this.hello);
    const { username: _, ...rest } = this.hello;
    this.http.token(refused).then(
      token => {
        if (!this.#isClosed) this.#open({ ...rest, token }, refused === undefined ? token : undefined);
      },
      error => {
        if (!this.#isClosed) this.handlers.onEnd(endCode(error), String(error), retryAfterMs(error));
      },
    );
  }

  /** `mayRenew`: the token to put a new one in place of, if the server takes it no more. */
  #open(hello: Hello, mayRenew?: string): void {
    const socket = new WebSocket(this.url, SUBPROTOCOL);
    this.#socket = socket;
    let isWelcome = false;
    const renews = (isRefused: boolean): boolean => {
      if (!isRefused || isWelcome || mayRenew === undefined) return false;
      this.#drop();
      this.#connect(mayRenew);
      return true;
    };
    socket.onopen = () => socket.send(JSON.stringify(hello));
    socket.onmessage = event => {
      if (typeof event.data !== 'string') return;
      const frame = JSON.parse(event.data) as ServerFrame;
      if (renews(frame.type === 'error' && frame.re == null && frame.code === 'unauthenticated')) return;
      isWelcome = true;
      this.handlers.onFrame(frame);
    };
    socket.onclose = ({ code, reason }) => {
      if (renews(code === TOKEN_EXPIRED || code === UNAUTHENTICATED)) return;
      this.handlers.onEnd(code, reason);
    };
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
