/**
 * The sending half of the HTTP transports: frames go out by `POST /v1/frames`, in order, one call under way at a time;
 * what gathers meanwhile goes together in the next.
 */
import { Refused } from '../errors';
import type { Outgoing, ServerFrame } from '../frames';
import type { Http } from '../http';
import type { LinkHandlers } from '../transport';

/** `GET` streams and waits are ended by the caller; a failed call ends the link, as a broken socket would. */
export class Posting {
  #waiting: Outgoing[] = [];
  #busy = false;
  #closed = false;

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

  close(): void {
    this.#closed = true;
  }

  async #run(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#waiting.length > 0 && !this.#closed) {
      const frames = this.#waiting.splice(0, 100);
      try {
        const { answers } = await this.http.post<{ answers: ServerFrame[] }>('/v1/frames', { frames });
        for (const answer of answers) if (!this.#closed) this.handlers.onFrame(answer);
      } catch (error) {
        if (!this.#closed) this.handlers.onEnd(endCode(error), 'http');
        return;
      }
    }
    this.#busy = false;
  }
}

/** The close code that a failed HTTP call stands for. */
export function endCode(error: unknown): number {
  return error instanceof Refused && error.code === 'unauthenticated' ? 3501 : 1006;
}
