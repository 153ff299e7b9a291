/** What every view gets at: the client, its state as a signal, the drafts. */
import { type Accessor, createContext, createSignal, onCleanup, useContext } from 'solid-js';
import type { Client, State } from '../sdk';

export interface Context {
  client: Client;
  state: Accessor<State>;
  /** Seconds pass: for what is shown as "in 5 s" or "typing". */
  now: Accessor<number>;
  logOut(): void;
}

export const AppContext = createContext<Context>();

export function useApp(): Context {
  const context = useContext(AppContext);
  if (!context) throw new Error('a view stands outside the app');
  return context;
}

/** The client's state as a signal; what comes within one frame of the screen is shown at once. */
export function stateSignal(client: Client): Accessor<State> {
  const [state, setState] = createSignal(client.state);
  let isDue = false;
  const show = () => {
    isDue = false;
    setState(() => client.state);
  };
  const stop = client.subscribe(() => {
    if (isDue) return;
    isDue = true;
    // A hidden page draws no frames, but its title still counts.
    if (document.hidden) setTimeout(show, 50);
    else requestAnimationFrame(show);
  });
  onCleanup(stop);
  return state;
}

/** The time, renewed each second. */
export function clock(): Accessor<number> {
  const [now, setNow] = createSignal(Date.now());
  const timer = setInterval(() => setNow(Date.now()), 1_000);
  onCleanup(() => clearInterval(timer));
  return now;
}
