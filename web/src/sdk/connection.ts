/**
 * Keeps one line to the server: connects, comes back with full jitter, changes over when told to move, tries another
 * transport where one is blocked. It knows no conversations; what is resumed is in the `hello` it is given.
 */
import { backoff, DRAINING, PLANNED_AFTER_MS, RESET_AFTER_MS } from './backoff';
import { Disconnected } from './errors';
import type { ClientFrame, Hello, ServerFrame, Welcome } from './frames';
import { Line } from './line';
import type { Status } from './state';
import { mayReconnect, type Transport } from './transport';

/** Whether there is a network at all, where the platform can tell. */
export interface Network {
  isOnline(): boolean;
  /** Returns how to stop listening. */
  onChange(listener: () => void): () => void;
}

export interface ConnectionOptions {
  /** In the order of preference. */
  transports: readonly Transport[];
  network: Network;
  /** Asked anew at each try: carries the newest sync token. */
  hello(): Hello;
  onFrame(frame: ServerFrame, request?: ClientFrame): void;
  onStatus(status: Status): void;
  /** 0 to 1; given by tests. */
  random?: () => number;
}

/** So many failures in a row before the first welcome, and the next transport gets its chance. */
const TRIES_A_TRANSPORT = 2;
/** A transport that stands in is changed for the preferred one when that works again: tried soon, then ever more seldom. */
const PREFER_FIRST_MS = 5_000;
const PREFER_MOST_MS = 300_000;

export class Connection {
  #line: Line | null = null;
  #isReady = false;
  #running = false;
  #tries = 0;
  /** Which transport is tried: the one that worked last, until it does not. */
  #at = 0;
  /** Tries with it since it last worked. */
  #failures = 0;
  /** Requests that wait until the line that is being left has its answers: else they could overtake what is on it. */
  #held: { frame: ClientFrame; resolve(answer: Promise<ServerFrame>): void }[] | null = null;
  #readyAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #moveTimer: ReturnType<typeof setTimeout> | undefined;
  #next: Line | null = null;
  #stopListening: (() => void) | null = null;
  readonly #random: () => number;

  constructor(private readonly options: ConnectionOptions) {
    this.#random = options.random ?? Math.random;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#stopListening = this.options.network.onChange(() => this.#onNetwork());
    this.#connect();
  }

  stop(): void {
    this.#running = false;
    this.#stopListening?.();
    this.#drop();
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Now, not when the wait is over. */
  retryNow(): void {
    if (this.#running && !this.#line) this.#connect();
  }

  request(frame: ClientFrame): Promise<ServerFrame> {
    if (!this.#line || !this.#isReady) return Promise.reject(new Disconnected());
    const held = this.#held;
    if (!held) return this.#line.request(frame);
    return new Promise(resolve => held.push({ frame, resolve }));
  }

  /** Says something that needs no answer, if there is a line; else it is forgotten. */
  tell(frame: ClientFrame): void {
    if (this.#isReady) this.#line?.tell(frame);
  }

  #connect(): void {
    clearTimeout(this.#timer);
    if (!this.options.network.isOnline()) {
      this.options.onStatus({ phase: 'offline' });
      return;
    }
    this.options.onStatus({ phase: 'connecting' });
    const transport = this.#transport();
    const line = new Line(transport, this.options.hello(), {
      onWelcome: welcome => {
        this.#isReady = true;
        this.#readyAt = Date.now();
        this.#failures = 0;
        this.options.onFrame(welcome);
        this.options.onStatus({ phase: 'ready', transport: transport.name });
        this.#preferFirst(transport, PREFER_FIRST_MS);
      },
      onFrame: this.options.onFrame,
      onMove: afterMs => this.#changeOver(transport, this.#random() * afterMs),
      onEnd: (code, reason, retryAfterMs) => this.#onEnd(code, reason, retryAfterMs),
    });
    this.#line = line;
  }

  #transport(): Transport {
    const { transports } = this.options;
    if (this.#failures >= TRIES_A_TRANSPORT) {
      this.#failures = 0;
      this.#at = (this.#at + 1) % transports.length;
    }
    const transport = transports[this.#at];
    if (!transport) throw new Error('a connection needs a transport');
    return transport;
  }

  #onEnd(code: number, reason: string, retryAfterMs?: number | null): void {
    const livedMs = this.#isReady ? Date.now() - this.#readyAt : 0;
    // A server that says when to come back is reached: it is not the transport that fails.
    if (!this.#isReady && !retryAfterMs) this.#failures += 1;
    if (livedMs >= (code === DRAINING ? PLANNED_AFTER_MS : RESET_AFTER_MS)) this.#tries = 0;
    this.#drop();
    if (!this.#running) return;
    if (!mayReconnect(code)) {
      this.#running = false;
      this.#stopListening?.();
      this.options.onStatus({ phase: 'ended', reason: reason || String(code) });
      return;
    }
    const waitMs = Math.max(backoff(this.#tries, this.#random), retryAfterMs ?? 0);
    this.#tries += 1;
    const isOnline = this.options.network.isOnline();
    this.options.onStatus(isOnline ? { phase: 'offline', next_try_at: Date.now() + waitMs } : { phase: 'offline' });
    if (isOnline) this.#timer = setTimeout(() => this.#connect(), waitMs);
  }

  #onNetwork(): void {
    if (this.options.network.isOnline()) {
      this.#tries = 0;
      this.retryNow();
    } else if (this.#running) {
      this.#drop();
      this.options.onStatus({ phase: 'offline' });
    }
  }

  #preferFirst(current: Transport, waitMs: number): void {
    const [first] = this.options.transports;
    if (!first || current === first) return;
    const again = () => this.#preferFirst(current, Math.min(PREFER_MOST_MS, 2 * waitMs));
    this.#changeOver(first, waitMs, again);
  }

  /** Make before break: the old line serves until the new one is welcomed, and gives its last answers after that. */
  #changeOver(transport: Transport, waitMs: number, onFailed: () => void = () => undefined): void {
    clearTimeout(this.#moveTimer);
    this.#moveTimer = setTimeout(() => {
      if (this.#next || !this.#line) return;
      const line = new Line(transport, this.options.hello(), {
        onWelcome: welcome => this.#takeOver(line, transport, welcome),
        onFrame: this.options.onFrame,
        onMove: afterMs => this.#changeOver(transport, this.#random() * afterMs),
        onEnd: (code, reason, retryAfterMs) => {
          if (this.#line === line) return this.#onEnd(code, reason, retryAfterMs);
          // A failed change-over leaves the old line in service; the server will close it when it must.
          this.#next = null;
          onFailed();
        },
      });
      this.#next = line;
    }, waitMs);
  }

  #takeOver(line: Line, transport: Transport, welcome: Welcome): void {
    const old = this.#line;
    this.#next = null;
    this.#line = line;
    this.#at = this.options.transports.indexOf(transport);
    this.#readyAt = Date.now();
    this.#held ??= [];
    this.options.onFrame(welcome);
    this.options.onStatus({ phase: 'ready', transport: transport.name });
    void old?.leave().then(isAnswered => this.#release(isAnswered));
  }

  /** What was on the old line and got no answer is asked again before all that waited behind it. */
  #release(isAnswered: boolean): void {
    const held = this.#held ?? [];
    this.#held = null;
    const line = isAnswered && this.#isReady ? this.#line : null;
    for (const { frame, resolve } of held) {
      resolve(line ? line.request(frame) : Promise.reject(new Disconnected()));
    }
  }

  #drop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#moveTimer);
    this.#isReady = false;
    const lines = [this.#line, this.#next];
    this.#line = this.#next = null;
    for (const line of lines) line?.close();
    this.#release(false);
  }
}
