/**
 * One connection from `hello` to its end: numbers requests, matches answers, watches for silence. It never reconnects:
 * that is `connection.ts`.
 */
import { Disconnected, Refused } from './errors';
import type { ClientFrame, Hello, RequestId, ServerFrame, Welcome } from './frames';
import type { Link, Transport } from './transport';

export interface LineHandlers {
  onWelcome(welcome: Welcome): void;
  /** Every frame but heartbeats; an answer comes with its request, the first `changes` after a resume with `hello`. */
  onFrame(frame: ServerFrame, request?: ClientFrame): void;
  onMove(afterMs: number): void;
  /** `retryAfterMs`: how long the server wants to be left alone, if it said so. */
  onEnd(code: number, reason: string, retryAfterMs?: number | null): void;
}

interface Waiting {
  request: ClientFrame;
  resolve(frame: ServerFrame): void;
  reject(error: Error): void;
}

const WELCOME_WITHIN_MS = 10_000;
/** Silence of so many heartbeat intervals ends the line. */
const SILENT_INTERVALS = 2.5;
/** How long a line that is being left may wait for its last answers. */
const DRAIN_MS = 5_000;

export class Line {
  readonly #link: Link;
  readonly #waiting = new Map<RequestId, Waiting>();
  #nextId = 1;
  #ended = false;
  #resuming: Hello | null;
  #heartbeatMs = 0;
  #heardAt = Date.now();
  #timer: ReturnType<typeof setTimeout>;
  #drained: ((isAnswered: boolean) => void) | null = null;

  constructor(
    transport: Transport,
    hello: Hello,
    private readonly handlers: LineHandlers,
  ) {
    this.#resuming = hello.sync === undefined && !transport.beginsWithChanges ? null : hello;
    this.#timer = setTimeout(() => this.#end(1006, 'no welcome'), WELCOME_WITHIN_MS);
    this.#link = transport.open(hello, {
      onFrame: frame => this.#onFrame(frame),
      onAlive: () => this.#onAlive(),
      onEnd: (code, reason, retryAfterMs) => this.#end(code, reason, retryAfterMs),
    });
  }

  /** Rejects with `Refused`, or with `Disconnected` when the line ends before the answer. */
  request(request: ClientFrame): Promise<ServerFrame> {
    if (this.#ended) return Promise.reject(new Disconnected());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { request, resolve, reject });
      this.#link.send({ ...request, id });
    });
  }

  /** Says something that needs no answer. */
  tell(frame: ClientFrame): void {
    if (!this.#ended) this.#link.send(frame);
  }

  /** Ends the line once its requests are answered, at the latest after `DRAIN_MS`. Tells whether all of them were. */
  async leave(): Promise<boolean> {
    let isAnswered = true;
    if (this.#waiting.size > 0 && !this.#ended) {
      isAnswered = await new Promise<boolean>(resolve => {
        const timeout = setTimeout(() => this.#drained?.(false), DRAIN_MS);
        this.#drained = isDone => {
          clearTimeout(timeout);
          resolve(isDone);
        };
      });
    }
    this.close();
    return isAnswered;
  }

  /** Ends the line without telling `onEnd`. */
  close(): void {
    if (this.#ended) return;
    this.#stop();
    this.#link.close();
  }

  #onAlive(): void {
    this.#heardAt = Date.now();
  }

  #onFrame(frame: ServerFrame): void {
    if (this.#ended) return;
    this.#onAlive();
    if (frame.type === 'ping') return this.tell({ type: 'pong' });
    if (frame.type === 'pong') return;
    if (frame.type === 'move') return this.handlers.onMove(frame.after_ms);
    if (frame.type === 'welcome') return this.#onWelcome(frame);
    const id = 're' in frame ? frame.re : undefined;
    const waiting = id === undefined || id === null ? undefined : this.#waiting.get(id);
    if (waiting && id !== undefined && id !== null) return this.#onAnswer(id, waiting, frame);
    // A refused hello has no id: nothing else can be refused before the welcome.
    if (frame.type === 'error' && this.#heartbeatMs === 0) return this.#onHelloRefused(Refused.from(frame));
    const resumed = frame.type === 'changes' && this.#resuming;
    if (resumed) this.#resuming = null;
    this.handlers.onFrame(frame, resumed || undefined);
  }

  #onHelloRefused(refused: Refused): void {
    const isTemporary = refused.isTemporary || refused.code === 'internal';
    this.#end(isTemporary ? 3004 : 3501, refused.message, refused.retryAfterMs);
  }

  #onWelcome(frame: Welcome): void {
    clearTimeout(this.#timer);
    this.#heartbeatMs = Math.max(1, frame.heartbeat_s) * 1000;
    this.#watch();
    this.handlers.onWelcome(frame);
  }

  #onAnswer(id: RequestId, waiting: Waiting, frame: ServerFrame): void {
    this.#waiting.delete(id);
    if (frame.type === 'error') waiting.reject(Refused.from(frame));
    else {
      this.handlers.onFrame(frame, waiting.request);
      waiting.resolve(frame);
    }
    if (this.#waiting.size === 0) this.#drained?.(true);
  }

  /** After one silent interval asks for a sign of life, after 2.5 gives up. */
  #watch(): void {
    this.#timer = setTimeout(() => {
      const silence = Date.now() - this.#heardAt;
      if (silence >= SILENT_INTERVALS * this.#heartbeatMs) return this.#end(1006, 'silence');
      if (silence >= this.#heartbeatMs) this.tell({ type: 'ping' });
      this.#watch();
    }, this.#heartbeatMs / 2);
  }

  #end(code: number, reason: string, retryAfterMs?: number | null): void {
    if (this.#ended) return;
    this.#stop();
    this.#link.close();
    this.handlers.onEnd(code, reason, retryAfterMs);
  }

  #stop(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const each of waiting) each.reject(new Disconnected());
    this.#drained?.(false);
  }
}
