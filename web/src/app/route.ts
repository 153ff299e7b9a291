/** Where the person is, kept in the address: `#/c/<conversation>[/<seq>]`, `#/u/<user>`; else home. */
import { createSignal } from 'solid-js';
import type { Place, Seq } from '../sdk';

export interface Route {
  place: Place | null;
  /** The entry that a deep link points at. */
  seq?: Seq;
}

export function parseRoute(hash: string): Route {
  const [kind, name, seq] = hash.replace(/^#\/?/, '').split('/').map(decode);
  if (kind === 'c' && name) return { place: { conversation: name }, seq: Number(seq) > 0 ? Number(seq) : undefined };
  if (kind === 'u' && name) return { place: { user: name } };
  return { place: null };
}

/** What is no percent-encoding is taken as it stands. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function hashOf(place: Place, seq?: Seq): string {
  if ('user' in place) return `#/u/${encodeURIComponent(place.user)}`;
  return `#/c/${encodeURIComponent(place.conversation)}${seq === undefined ? '' : `/${seq}`}`;
}

const [route, setRoute] = createSignal<Route>(parseRoute(location.hash));
window.addEventListener('hashchange', () => setRoute(parseRoute(location.hash)));

export { route };

export function go(place: Place | null, seq?: Seq): void {
  location.hash = place ? hashOf(place, seq) : '';
}

/** Changes the address without a step in the history: a person became a conversation. */
export function replaceRoute(place: Place): void {
  history.replaceState(null, '', hashOf(place));
  setRoute({ place });
}
