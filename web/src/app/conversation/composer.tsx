/** Where one writes: grows with the text, keeps drafts, completes mentions, answers and edits. */
import { createEffect, createMemo, createSignal, For, on, onCleanup, Show } from 'solid-js';
import { type Entry, type Item, knownIn, type Place } from '../../sdk';
import { useApp } from '../context';
import { drafts, keepDraft } from '../drafts';
import { nameOf } from '../text/entries';
import { mentionsIn } from '../text/segments';
import { Avatar } from '../ui/avatar';
import { Check, Close, Send } from '../ui/icons';
import { attempt, toast } from '../ui/toast';

const TYPING_EVERY_MS = 3_000;
const MOST_SUGGESTED = 6;

export type Mode = { kind: 'new' } | { kind: 'reply' | 'edit'; entry: Entry };

export function Composer(props: {
  draftKey: string;
  place: Place;
  item: Item | undefined;
  mode: Mode;
  onMode: (mode: Mode) => void;
  onSent: () => void;
  /** Arrow up in an empty field: the last own message. */
  onEditLast: () => void;
}) {
  const { client, state } = useApp();
  const [text, setText] = createSignal(drafts[props.draftKey] ?? '');
  let field!: HTMLTextAreaElement;
  let typedAt = 0;

  createEffect(
    on(
      () => props.mode,
      (mode, before) => {
        if (mode.kind === 'edit') setText(mode.entry.text ?? '');
        else if (before?.kind === 'edit') setText(drafts[props.draftKey] ?? '');
        if (before) field.focus();
      },
    ),
  );
  createEffect(() => {
    text();
    // Measured at its smallest, or it would never shrink.
    field.style.setProperty('height', 'auto');
    field.style.setProperty('height', `${field.scrollHeight}px`);
  });
  // A person who opens a conversation wants to write; on touch that would push the keyboard up.
  queueMicrotask(() => {
    if (matchMedia('(hover: hover)').matches && !document.querySelector('dialog[open]')) field.focus();
  });
  // Writing anywhere means writing here.
  const onAnyKey = (event: KeyboardEvent) => {
    const isTyping = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey && event.key !== ' ';
    if (isTyping && document.activeElement === document.body) field.focus();
  };
  window.addEventListener('keydown', onAnyKey);
  onCleanup(() => window.removeEventListener('keydown', onAnyKey));

  // -------------------------------------------------------------- mentions

  const [caret, setCaret] = createSignal(0);
  const [chosen, setChosen] = createSignal(0);
  const [isDismissed, setDismissed] = createSignal(false);
  const mentionable = createMemo((): string[] => {
    const { item } = props;
    if (!item) return [];
    const mayTellAll = item.role === 'admin' || item.role === 'owner';
    return [...knownIn(state(), item), ...(mayTellAll ? ['@all'] : [])];
  });
  const sought = createMemo(() => /(?:^|\s)@([^\s@]{0,40})$/u.exec(text().slice(0, caret()))?.[1]?.toLowerCase());
  const suggested = createMemo(() => {
    const begun = sought();
    if (begun === undefined || isDismissed() || props.item?.kind === 'direct') return [];
    return mentionable()
      .filter(user => `${user} ${nameOf(state(), user)}`.toLowerCase().replace('@', '').includes(begun))
      .slice(0, MOST_SUGGESTED);
  });
  createEffect(
    on(sought, () => {
      setChosen(0);
      setDismissed(false);
    }),
  );

  function complete(user: string): void {
    const before = text().slice(0, caret());
    const start = before.lastIndexOf('@');
    const inserted = `${user.startsWith('@') ? user : `@${user}`} `;
    setText(text().slice(0, start) + inserted + text().slice(caret()));
    const at = start + inserted.length;
    field.focus();
    field.setSelectionRange(at, at);
    setCaret(at);
    keepDraft(props.draftKey, text());
  }

  // -------------------------------------------------------------- writing and sending

  function onInput(): void {
    setText(field.value);
    setCaret(field.selectionStart);
    if (props.mode.kind === 'edit') return;
    keepDraft(props.draftKey, text());
    const { item } = props;
    if (item && text().trim() !== '' && Date.now() - typedAt > TYPING_EVERY_MS) {
      typedAt = Date.now();
      client.typing(item.conversation);
    }
  }

  function submit(): void {
    const written = text().trim();
    const { mode, item } = props;
    if (written === '') return;
    const most = state().limits.text_bytes ?? 16_384;
    const bytes = new TextEncoder().encode(written).length;
    if (bytes > most) return toast(`This message is too long: ${bytes - most} bytes too many.`);
    if (mode.kind === 'edit' && item) {
      if (written !== mode.entry.text) {
        const edit = { conversation: item.conversation, seq: mode.entry.seq, text: written };
        void attempt(client.edit(edit), 'The message was not changed');
      }
      return props.onMode({ kind: 'new' });
    }
    const mentions = mentionsIn(written, mentionable()).slice(0, state().limits.mentions ?? 50);
    const more = {
      ...(mentions.length > 0 ? { mentions } : {}),
      ...(mode.kind === 'reply' ? { reply_to: mode.entry.seq } : {}),
    };
    // A refusal shows at the message itself, with the way to try again.
    void client.send(props.place, written, more).catch(() => undefined);
    setText('');
    keepDraft(props.draftKey, '');
    typedAt = 0;
    props.onMode({ kind: 'new' });
    props.onSent();
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (event.isComposing) return;
    const user = suggested()[chosen()];
    if (user !== undefined) {
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        event.preventDefault();
        const step = event.key === 'ArrowDown' ? 1 : -1;
        return void setChosen(held => (held + step + suggested().length) % suggested().length);
      }
      if (event.key === 'Enter' || event.key === 'Tab') {
        event.preventDefault();
        return complete(user);
      }
      if (event.key === 'Escape') {
        event.preventDefault();
        return void setDismissed(true);
      }
    }
    if (event.key === 'Enter' && !event.shiftKey && matchMedia('(hover: hover)').matches) {
      event.preventDefault();
      submit();
    } else if (event.key === 'Escape' && props.mode.kind !== 'new') {
      event.preventDefault();
      props.onMode({ kind: 'new' });
    } else if (event.key === 'ArrowUp' && text() === '') {
      event.preventDefault();
      props.onEditLast();
    }
  }

  const about = () => (props.mode.kind === 'new' ? undefined : props.mode);

  return (
    <form
      class="composer"
      onSubmit={event => {
        event.preventDefault();
        submit();
      }}
    >
      <Show when={suggested().length > 0}>
        <div class="suggestions" id="mention-list" role="listbox" aria-label="Mention">
          <For each={suggested()}>
            {(user, index) => (
              // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are the field's
              <div
                id={`mention-${index()}`}
                class="person"
                role="option"
                tabIndex={-1}
                aria-selected={index() === chosen()}
                onMouseMove={() => setChosen(index())}
                onMouseDown={event => event.preventDefault()}
                onClick={() => complete(user)}
              >
                <Avatar name={user === '@all' ? '@' : nameOf(state(), user)} id={user} size="small" />
                <span class="person-name" dir="auto">
                  {user === '@all' ? 'Everybody' : nameOf(state(), user)}
                </span>
                <span class="muted person-id">{user.startsWith('@') ? user : `@${user}`}</span>
              </div>
            )}
          </For>
        </div>
      </Show>
      <Show when={about()}>
        {mode => (
          <div class="composer-about">
            <span class="quote">
              <span class="quote-name">
                {mode().kind === 'edit' ? 'Edit message' : `Reply to ${nameOf(state(), mode().entry.from)}`}
              </span>
              <span class="quote-text" dir="auto">
                {mode().entry.text}
              </span>
            </span>
            <button class="icon-button" type="button" aria-label="Cancel" onClick={() => props.onMode({ kind: 'new' })}>
              <Close />
            </button>
          </div>
        )}
      </Show>
      <div class="composer-row">
        <textarea
          id="composer"
          ref={field}
          rows={1}
          dir="auto"
          aria-label="Message"
          aria-autocomplete="list"
          aria-controls={suggested().length > 0 ? 'mention-list' : undefined}
          aria-activedescendant={suggested().length > 0 ? `mention-${chosen()}` : undefined}
          placeholder="Write a message"
          enterkeyhint="enter"
          value={text()}
          onInput={onInput}
          onKeyDown={onKeyDown}
          onSelect={() => setCaret(field.selectionStart)}
        />
        <button
          class="send-button"
          type="submit"
          aria-label={props.mode.kind === 'edit' ? 'Save' : 'Send'}
          disabled={text().trim() === ''}
        >
          <Show when={props.mode.kind === 'edit'} fallback={<Send />}>
            <Check />
          </Show>
        </button>
      </div>
    </form>
  );
}
