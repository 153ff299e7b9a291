/** A modal window on the native `dialog`: it keeps the focus inside, closes on Escape and on a click beside it. */
import { type JSX, onCleanup, onMount } from 'solid-js';
import { Close } from './icons';
import { returnFocus } from './return_focus';

export function Dialog(props: { title: string; class?: string; onClose: () => void; children: JSX.Element }) {
  let dialog!: HTMLDialogElement;
  onMount(() => {
    dialog.showModal();
    dialog.querySelector<HTMLElement>('[data-autofocus]')?.focus();
  });
  onCleanup(returnFocus());
  return (
    <dialog
      ref={dialog}
      class={`dialog ${props.class ?? ''}`}
      aria-label={props.title}
      onClose={() => props.onClose()}
      onClick={event => {
        if (event.target === dialog) dialog.close();
      }}
      onKeyDown={event => event.stopPropagation()}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2>{props.title}</h2>
          <button class="icon-button" type="button" aria-label="Close" onClick={() => dialog.close()}>
            <Close />
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}
