/** What the client takes from the browser when it is not told otherwise. */
import type { Network } from './connection';
import type { Store } from './store';
import { openIndexedDb } from './store/indexed_db';
import { MemoryStore } from './store/memory';

export function browserNetwork(): Network {
  if (typeof window === 'undefined') return { isOnline: () => true, onChange: () => () => undefined };
  return {
    isOnline: () => navigator.onLine,
    onChange(listener) {
      window.addEventListener('online', listener);
      window.addEventListener('offline', listener);
      return () => {
        window.removeEventListener('online', listener);
        window.removeEventListener('offline', listener);
      };
    },
  };
}

/** IndexedDB, or memory where a browser refuses it (private windows of some). */
export async function browserStore(name: string): Promise<Store> {
  if (typeof indexedDB === 'undefined') return new MemoryStore();
  return openIndexedDb(name).catch(() => new MemoryStore());
}
