/** Asks once more before a node is taken out. */
import { createSignal, Show } from 'solid-js';
import { Dialog } from '../ui/dialog';
import type { Row } from './fleet';

export function Confirm(props: {
  act: 'drain' | 'remove';
  row: Row;
  onConfirm: (force: boolean) => void;
  onClose: () => void;
}) {
  const [isMeant, setMeant] = createSignal(false);
  const isRemoval = () => props.act === 'remove';
  const mustMean = () => isRemoval() && props.row.needsForce;
  return (
    <Dialog title={isRemoval() ? `Remove ${props.row.name}?` : `Drain ${props.row.name}?`} onClose={props.onClose}>
      <form
        class="confirm"
        onSubmit={event => {
          event.preventDefault();
          props.onConfirm(mustMean());
        }}
      >
        <Show
          when={isRemoval()}
          fallback={
            <p>
              It hands its shards to the others, moves the people who are on it, leaves the fleet and stops. Nothing is
              lost, and nobody notices.
            </p>
          }
        >
          <p>
            The others take its shards at once. That is for a machine that is dead: what it acknowledged is in its
            journal, and they read it there.
          </p>
        </Show>
        <Show when={mustMean()}>
          <label class="confirm-force">
            <input type="checkbox" checked={isMeant()} onChange={event => setMeant(event.currentTarget.checked)} />
            <span>It says that it lives. Remove it all the same: it stops as soon as it finds out.</span>
          </label>
        </Show>
        <button
          class="button wide"
          classList={{ primary: !isRemoval(), danger: isRemoval() }}
          type="submit"
          disabled={mustMean() && !isMeant()}
        >
          {isRemoval() ? 'Remove it' : 'Drain it'}
        </button>
      </form>
    </Dialog>
  );
}
