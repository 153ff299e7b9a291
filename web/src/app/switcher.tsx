/** Ctrl-K: to another conversation by a few letters of its name. */
import { createEffect, createMemo, createSignal, For, on, Show } from 'solid-js';
import { homeOrder, isCalled, itemName } from '../sdk';
import { useApp } from './context';
import { go } from './route';
import { Avatar } from './ui/avatar';
import { Dialog } from './ui/dialog';

const MOST_SHOWN = 8;

export function Switcher(props: { onClose: () => void }) {
  const { state } = useApp();
  const [query, setQuery] = createSignal('');
  const [at, setAt] = createSignal(0);
  const found = createMemo(() => {
    const sought = query().trim().toLowerCase();
    const items = homeOrder(Object.values(state().items)).map(item => ({ item, name: itemName(state(), item) }));
    const ranked = items.filter(({ item }) => isCalled(state(), item, sought));
    // Names that begin so come first; the order of home decides the rest.
    const begins = (name: string) => Number(name.toLowerCase().startsWith(sought));
    return ranked.sort((one, other) => begins(other.name) - begins(one.name)).slice(0, MOST_SHOWN);
  });
  createEffect(on(query, () => setAt(0)));

  function open(conversation: string | undefined): void {
    if (conversation === undefined) return;
    props.onClose();
    go({ conversation });
  }

  function onKeyDown(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      setAt(held => Math.max(0, Math.min(found().length - 1, held + step)));
    } else if (event.key === 'Enter') {
      event.preventDefault();
      open(found()[at()]?.item.conversation);
    }
  }

  return (
    <Dialog title="Switch conversation" class="switcher" onClose={props.onClose}>
      <input
        class="field"
        data-autofocus
        role="combobox"
        aria-label="Name of a conversation"
        aria-expanded="true"
        aria-controls="switcher-list"
        aria-activedescendant={found().length > 0 ? `switcher-${at()}` : undefined}
        autocomplete="off"
        placeholder="Where to?"
        value={query()}
        onInput={event => setQuery(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div id="switcher-list" role="listbox" aria-label="Conversations" class="people">
        <For each={found()}>
          {({ item, name }, index) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are the field's
            <div
              id={`switcher-${index()}`}
              class="person"
              role="option"
              tabIndex={-1}
              aria-selected={index() === at()}
              onMouseMove={() => setAt(index())}
              onClick={() => open(item.conversation)}
            >
              <Avatar name={name} id={item.with ?? item.conversation} isGroup={item.kind !== 'direct'} size="small" />
              <span class="person-name" dir="auto">
                {name}
              </span>
              <Show when={item.unread > 0}>
                <span class="badge">{item.unread}</span>
              </Show>
            </div>
          )}
        </For>
      </div>
      <Show when={found().length === 0}>
        <p class="muted">No conversation is called so.</p>
      </Show>
    </Dialog>
  );
}
