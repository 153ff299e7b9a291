/**
 * A menu of acts: beside what was pressed on a wide screen, a sheet from below on a phone. One at a time; who opens it
 * says what is in it.
 */

import { createSignal, For, type JSX, onCleanup, onMount, Show } from 'solid-js';
import { returnFocus } from './return_focus';

export interface MenuAct {
  label: string;
  icon?: JSX.Element;
  isDangerous?: boolean;
  run(): void;
}

export interface MenuContent {
  label: string;
  acts: MenuAct[];
  /** Quick choices in a row above the acts. */
  quick?: { label: string; isOn: boolean; run(): void }[];
}

const [open, setOpen] = createSignal<(MenuContent & { at: DOMRect }) | null>(null);

/** `beside`: what was pressed; the focus goes back there. */
export function openMenu(beside: Element, content: MenuContent): void {
  setOpen({ ...content, at: beside.getBoundingClientRect() });
}

export function MenuHost() {
  return (
    <Show when={open()} keyed>
      {content => <Menu content={content} />}
    </Show>
  );
}

function Menu(props: { content: MenuContent & { at: DOMRect } }) {
  let dialog!: HTMLDialogElement;
  onMount(() => {
    dialog.showModal();
    place(dialog, props.content.at);
    dialog.querySelector<HTMLElement>('.menu-act')?.focus();
  });
  onCleanup(returnFocus());

  function run(act: () => void): void {
    dialog.close();
    // After the focus is back where it was: the act may want it elsewhere.
    queueMicrotask(act);
  }

  function onKeyDown(event: KeyboardEvent): void {
    event.stopPropagation();
    const step = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const buttons = [...dialog.querySelectorAll('button')];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    buttons[(at + step + buttons.length) % buttons.length]?.focus();
  }

  return (
    <dialog
      ref={dialog}
      class="menu"
      aria-label={props.content.label}
      onClose={() => setOpen(held => (held === props.content ? null : held))}
      onClick={event => {
        if (event.target === dialog) dialog.close();
      }}
      onKeyDown={onKeyDown}
    >
      <div class="menu-body">
        <Show when={props.content.quick}>
          {quick => (
            <fieldset class="menu-quick" aria-label="React">
              <For each={quick()}>
                {each => (
                  <button type="button" aria-pressed={each.isOn} onClick={() => run(() => each.run())}>
                    {each.label}
                  </button>
                )}
              </For>
            </fieldset>
          )}
        </Show>
        <For each={props.content.acts}>
          {act => (
            <button
              type="button"
              class="menu-act"
              classList={{ danger: act.isDangerous ?? false }}
              onClick={() => run(() => act.run())}
            >
              {act.icon}
              {act.label}
            </button>
          )}
        </For>
      </div>
    </dialog>
  );
}

/** Below what was pressed if there is room, else above; inside the window in any case. */
function place(dialog: HTMLElement, at: DOMRect): void {
  const { width, height } = dialog.getBoundingClientRect();
  const margin = 8;
  const left = Math.min(Math.max(margin, at.right - width), innerWidth - width - margin);
  const below = at.bottom + 4;
  const top = below + height + margin <= innerHeight ? below : Math.max(margin, at.top - height - 4);
  dialog.style.setProperty('--left', `${left}px`);
  dialog.style.setProperty('--top', `${top}px`);
}
