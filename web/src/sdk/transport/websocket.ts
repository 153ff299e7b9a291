/** The WebSocket transport: one text frame is one JSON object. */
import type { Hello, Outgoing, ServerFrame } from '../frames';
import type { Http } from '../http';
import type { Link, LinkHandlers, Transport } from '../transport';
import { endCode, retryAfterMs } from './posting';

const SUBPROTOCOL = 'tidings.v1.json';
const TOKEN_EXPIRED = 3003;
const UNAUTHENTICATED = 3501;
/** A server that could not be reached is not tried again for so long, whoever prefers it. */
const FAILED_MS = 600_000;

export function webSocketTransport(http: Http): Transport {
  const where = new Where(http.base);
  return { name: 'websocket', open: (hello, handlers) => new Socket(http, where, hello, handlers) };
}

/** Which server of a fleet to open the next socket to: the one that is known, or the one where that prefers this user to go. */
class Where {
  #preferred: string | null = null;
  /** Where it could not be opened, and when that was. */
  readonly #failed = new Map<string, number>();

  constructor(readonly known: string) {}

  next(): string {
    return this.#preferred ?? this.known;
  }

  welcomed(at: string, prefer: string | null): void {
    if (prefer === null) this.#preferred = at === this.known ? null : at;
    else if (this.#isGood(prefer)) this.#preferred = prefer;
  }

  failed(at: string): void {
    this.#failed.set(at, Date.now());
    this.#preferred = null;
  }

  #isGood(url: string): boolean {
    if (Date.now() - (this.#failed.get(url) ?? 0) < FAILED_MS) return false;
    // A browser opens nothing plain from a page that is not, and nobody should.
    const { protocol } = new URL(this.known);
    return URL.canParse(url) && (new URL(url).protocol === protocol || protocol === 'http:');
  }
}

function address(base: string): URL {
  const url = new URL('/v1/ws', base);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url;
}

class Socket implements Link {
  #socket: WebSocket | null = null;
  #isClosed = false;

  constructor(
    private readonly http: Http,
    private readonly where: Where,
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
    const at = this.where.next();
    const socket = new WebSocket(address(at), SUBPROTOCOL);
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
      if (frame.type === 'welcome') this.where.welcomed(at, frame.prefer);
      isWelcome = true;
      this.handlers.onFrame(frame);
    };
    socket.onclose = ({ code, reason }) => {
      if (renews(code === TOKEN_EXPIRED || code === UNAUTHENTICATED)) return;
      if (!isWelcome && at !== this.where.known) {
        this.where.failed(at);
        return this.#open(hello, mayRenew);
      }
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
