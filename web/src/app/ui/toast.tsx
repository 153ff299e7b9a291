/** Short notes that go by themselves: something was copied, something was refused. */
import { createSignal, For } from 'solid-js';
import { Disconnected, Refused } from '../../sdk';

const SHOWN_MS = 5_000;
const [notes, setNotes] = createSignal<readonly string[]>([]);

export function toast(text: string): void {
  setNotes(held => [...held.filter(each => each !== text), text].slice(-3));
  setTimeout(() => setNotes(held => held.filter(each => each !== text)), SHOWN_MS);
}

/** Runs an act of the person, and says in words when it failed. */
export async function attempt(act: Promise<unknown>, what: string): Promise<boolean> {
  try {
    await act;
    return true;
  } catch (error) {
    if (error instanceof Refused) toast(`${what}: ${error.message}`);
    else if (error instanceof Disconnected) toast(`${what}: you are offline. Try again when you are connected.`);
    else throw error;
    return false;
  }
}

export function Toasts() {
  return (
    <div class="toasts" role="status">
      <For each={notes()}>{note => <p class="toast">{note}</p>}</For>
    </div>
  );
}
