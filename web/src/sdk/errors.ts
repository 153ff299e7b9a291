/** The two ways a request can fail: the server refused it, or the line went before it was answered. */
import type { Refusal } from './frames';

/** The server said no. `code` is for programs, `message` for people. */
export class Refused extends Error {
  override readonly name = 'Refused';
  constructor(
    readonly code: string,
    message: string,
    readonly retryAfterMs: number | null = null,
    readonly users: readonly string[] = [],
  ) {
    super(message);
  }

  static from(frame: Pick<Refusal, 'code' | 'message' | 'retry_after_ms' | 'users'>): Refused {
    return new Refused(frame.code, frame.message, frame.retry_after_ms ?? null, frame.users ?? []);
  }

  /** Whether the same request may well be taken a little later. */
  get isTemporary(): boolean {
    return this.code === 'unavailable' || this.code === 'rate_limited';
  }
}

/** Nobody answered: whether the request took effect is not known. */
export class Disconnected extends Error {
  override readonly name = 'Disconnected';
  constructor() {
    super('The connection ended before the answer came.');
  }
}
