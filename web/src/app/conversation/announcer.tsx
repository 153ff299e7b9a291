/** Reads new messages of the open conversation out, once, and nothing that was there before or is scrolled to. */
import { createEffect, createSignal, For, on } from 'solid-js';
import { type Log, lastSeq } from '../../sdk';
import { useApp } from '../context';
import { nameOf } from '../text/entries';

const MOST_KEPT = 5;

export function Announcer(props: { log: Log | undefined }) {
  const { state } = useApp();
  const [said, setSaid] = createSignal<readonly string[]>([]);
  createEffect(
    on(
      () => props.log,
      (log, before) => {
        // Only what follows on what was shown is new; a page that replaces it is not.
        if (!log?.attached || !before?.attached || lastSeq(log) <= lastSeq(before)) return;
        const fresh = log.entries.filter(
          entry => entry.seq > lastSeq(before) && entry.kind === 'message' && entry.from !== state().me,
        );
        const lines = fresh.map(entry => `${nameOf(state(), entry.from)}: ${(entry.text ?? '').slice(0, 500)}`);
        setSaid(held => [...held, ...lines].slice(-MOST_KEPT));
      },
    ),
  );
  return (
    <div class="visually-hidden" role="log" aria-live="polite" aria-label="New messages">
      <For each={said()}>{line => <p>{line}</p>}</For>
    </div>
  );
}
