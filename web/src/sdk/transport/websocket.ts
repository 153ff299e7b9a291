/** The WebSocket transport: one text frame is one JSON object. */
import type { ServerFrame } from '../frames';
import type { Transport } from '../transport';

const SUBPROTOCOL = 'tidings.v1.json';

/** `base`: the server's address, `http:` or `https:`. */
export function webSocketTransport(base: string): Transport {
  const url = new URL('/v1/ws', base);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return {
    name: 'websocket',
    open(hello, handlers) {
      const socket = new WebSocket(url, SUBPROTOCOL);
      socket.onopen = () => socket.send(JSON.stringify(hello));
      socket.onmessage = event => {
        if (typeof event.data !== 'string') return;
        handlers.onFrame(JSON.parse(event.data) as ServerFrame);
      };
      socket.onclose = event => handlers.onEnd(event.code, event.reason);
      return {
        send(frame) {
          if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
        },
        close() {
          socket.onopen = socket.onmessage = socket.onclose = null;
          socket.close();
        },
      };
    },
  };
}
