/**
 * What the connection needs of a transport: a link that carries frames both ways and says when it ends. A transport
 * knows no requests, no retries and no state. One file each in `transport/`.
 */
import type { Hello, Outgoing, ServerFrame } from './frames';

export interface Transport {
  readonly name: 'websocket' | 'sse' | 'long_poll';
  /** `changes` follow the welcome even when `hello` shows no token. */
  readonly beginsWithChanges?: boolean;
  /** Opens a link and says `hello` on it. Returns at once; what happens is told to `handlers`. */
  open(hello: Hello, handlers: LinkHandlers): Link;
}

export interface Link {
  /** In the order called. After the end it does nothing. */
  send(frame: Outgoing): void;
  /** Ends the link; `onEnd` is not called any more. */
  close(): void;
}

export interface LinkHandlers {
  onFrame(frame: ServerFrame): void;
  /** A sign of life that is no frame. */
  onAlive(): void;
  /**
   * The link is gone. `code`: the close code (PROTOCOL section 2), 1006 when there was none. `retryAfterMs`: how long the
   * server wants to be left alone, if it said so.
   */
  onEnd(code: number, reason: string, retryAfterMs?: number | null): void;
}

/** What a close code advises. */
export function mayReconnect(code: number): boolean {
  return code < 3500 || code > 3999;
}
