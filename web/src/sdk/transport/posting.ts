/**
 * The sending half of the HTTP transports: frames go out by `POST /v1/frames`, in order, one call under way at a time;
 * what gathers meanwhile goes together in the next. What comes in by the other way is handed on through here too, so
 * that it is never overtaken by an older answer.
 */
import { Refused } from '../errors';
import type { Outgoing, ServerFrame } from '../frames';
import type { Http } from '../http';
import type { LinkHandlers } from '../transport';

const MOST_FRAMES = 100;
/** A body may have 64 KiB. */
const MOST_BYTES = 60_000;

/** `GET` streams and waits are ended by the caller; a failed call ends the link, as a broken socket would. */
export class Posting {
  #waiting: Outgoing[] = [];
  #isBusy = false;
  #isClosed = false;
  /** What came in while a `sync` was under way: the answer is older than what follows on it. */
  #held: ServerFrame[] | null = null;

  constructor(
    private readonly http: Http,
    private readonly handlers: LinkHandlers,
  ) {}

  send(frame: Outgoing): void {
    // Heartbeats belong to sockets: HTTP has its own.
    if (frame.type === 'ping' || frame.type === 'pong') return;
    this.#waiting.push(frame);
    void this.#run();
  }

  /** A frame of the stream or of a poll. */
  receive(frame: ServerFrame): void {
    if (this.#isClosed) return;
    if (this.#held && frame.type !== 'welcome') this.#held.push(frame);
    else this.handlers.onFrame(frame);
  }

  close(): void {
    this.#isClosed = true;
  }

  async #run(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    // What is asked in one turn goes together.
    await Promise.resolve();
    while (this.#waiting.length > 0 && !this.#isClosed) {
      try {
        await this.#post(this.#waiting.splice(0, fitting(this.#waiting)));
      } catch (error) {
        if (!this.#isClosed) this.handlers.onEnd(endCode(error), String(error), retryAfterMs(error));
        return;
      }
    }
    this.#isBusy = false;
  }

  async #post(frames: Outgoing[]): Promise<void> {
    if (frames.some(frame => frame.type === 'sync')) this.#held = [];
    const { answers } = await this.http.post<{ answers: ServerFrame[] }>('/v1/frames', { frames });
    const held = this.#held ?? [];
    this.#held = null;
    for (const frame of [...answers, ...held]) if (!this.#isClosed) this.handlers.onFrame(frame);
  }
}

/** How many of the first frames go into one call; one always does. */
function fitting(frames: readonly Outgoing[]): number {
  const encoder = new TextEncoder();
  let bytes = 0;
  for (const [index, frame] of frames.slice(0, MOST_FRAMES).entries()) {
    bytes += encoder.encode(JSON.stringify(frame)).length + 1;
    if (bytes > MOST_BYTES) return Math.max(1, index);
  }
  return Math.min(frames.length, MOST_FRAMES);
}

/** How long the server wants to be left alone, if it said so. */
export function retryAfterMs(error: unknown): number | null {
  return error instanceof Refused ? error.retryAfterMs : null;
}

/** The close code that a failed HTTP call stands for. */
export function endCode(error: unknown): number {
  return error instanceof Refused && error.code === 'unauthenticated' ? 3501 : 1006;
}
