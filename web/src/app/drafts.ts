/** What was typed and not sent, for each place; kept over reloads. */
import { createStore } from 'solid-js/store';
import type { Place } from '../sdk';

const PREFIX = 'tidings.draft.';

/** A name for a place that no property of an object has. */
export const placeKey = (place: Place): string =>
  'user' in place ? `user:${place.user}` : `conversation:${place.conversation}`;

export function placeOf(key: string): Place {
  const name = key.slice(key.indexOf(':') + 1);
  return key.startsWith('user:') ? { user: name } : { conversation: name };
}

function load(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (let index = 0; index < localStorage.length; index += 1) {
    const key = localStorage.key(index);
    if (key?.startsWith(PREFIX)) kept[key.slice(PREFIX.length)] = localStorage.getItem(key) ?? '';
  }
  return kept;
}

const [drafts, setDrafts] = createStore<Record<string, string | undefined>>(load());

export { drafts };

export function keepDraft(key: string, text: string): void {
  if (text.trim() === '') {
    setDrafts(key, undefined);
    localStorage.removeItem(PREFIX + key);
  } else {
    setDrafts(key, text);
    localStorage.setItem(PREFIX + key, text);
  }
}

export function forgetDrafts(): void {
  for (const key of Object.keys(drafts)) keepDraft(key, '');
}
