/** Says honestly how the line stands: nothing while all is well, when the next try is due while it is not. */
import { createEffect, createMemo, createSignal, Match, onCleanup, Switch } from 'solid-js';
import { useApp } from '../context';

/** A short cut is not worth a word. */
const PATIENCE_MS = 1_200;

export function StatusBanner() {
  const { client, state, now, logOut } = useApp();
  const [isLong, setLong] = createSignal(false);
  const isReady = createMemo(() => state().status.phase === 'ready');
  createEffect(() => {
    if (isReady()) return void setLong(false);
    const timer = setTimeout(() => setLong(true), PATIENCE_MS);
    onCleanup(() => clearTimeout(timer));
  });
  const seconds = () => Math.max(1, Math.ceil(((state().status.next_try_at ?? now()) - now()) / 1000));
  const waiting = () => state().outbox.filter(pending => !pending.refused && !pending.placed).length;
  const kept = () => (waiting() > 0 ? ` ${waiting() === 1 ? '1 message waits.' : `${waiting()} messages wait.`}` : '');

  return (
    <div class="banner-place" role="status">
      <Switch>
        <Match when={state().status.phase === 'ended'}>
          <div class="banner ended">
            <span>This device is no longer connected{state().status.reason ? `: ${state().status.reason}` : ''}.</span>
            <button class="link-button" type="button" onClick={() => location.reload()}>
              Connect again
            </button>
            <button class="link-button" type="button" onClick={logOut}>
              Log out
            </button>
          </div>
        </Match>
        <Match when={isLong() && state().status.phase === 'offline' && state().status.next_try_at !== undefined}>
          <div class="banner">
            <span>
              Not connected. Next try <span aria-hidden="true">in {seconds()} s</span>
              <span class="visually-hidden">soon</span>.{kept()}
            </span>
            <button class="link-button" type="button" onClick={() => client.reconnect()}>
              Try now
            </button>
          </div>
        </Match>
        <Match when={isLong() && state().status.phase === 'offline'}>
          <div class="banner">
            <span>You are offline. Tidings connects as soon as there is a network.{kept()}</span>
          </div>
        </Match>
        <Match when={isLong() && state().status.phase === 'connecting'}>
          <div class="banner">
            <span>Connecting…{kept()}</span>
          </div>
        </Match>
      </Switch>
    </div>
  );
}
