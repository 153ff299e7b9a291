/** A message's text: text nodes, code, links and mentions, nothing that could run. Very long ones fold. */
import { createMemo, createSignal, For, Show } from 'solid-js';
import type { Entry } from '../../sdk';
import { beginning, isOnlyEmoji, segments } from '../text/segments';

/** More than this is folded, until asked for. */
const LONG_CHARS = 1_800;
const LONG_LINES = 24;

function folded(text: string): string | null {
  const isShort = text.length <= LONG_CHARS && text.split('\n').length <= LONG_LINES;
  return isShort ? null : beginning(text, LONG_LINES, LONG_CHARS);
}

export function MessageText(props: { entry: Entry; me: string }) {
  const [isOpen, setOpen] = createSignal(false);
  const text = () => props.entry.text ?? '';
  const short = createMemo(() => folded(text()));
  const shown = createMemo(() => segments(isOpen() ? text() : (short() ?? text()), props.entry.mentions));
  return (
    <div class="text" classList={{ emoji: isOnlyEmoji(text()) }} dir="auto">
      <For each={shown()}>
        {segment => {
          if (segment.kind === 'text') return segment.text;
          if (segment.kind === 'code') {
            return (
              <code class="code" classList={{ block: segment.isBlock }} dir="ltr">
                {segment.text}
              </code>
            );
          }
          if (segment.kind === 'mention') {
            const isMe = segment.user === props.me || segment.user === 'all';
            return (
              <span class="mention-word" classList={{ me: isMe }}>
                {segment.text}
              </span>
            );
          }
          return (
            <a href={segment.href} target="_blank" rel="noopener noreferrer nofollow">
              {segment.text}
            </a>
          );
        }}
      </For>
      <Show when={short() !== null}>
        {isOpen() ? ' ' : '… '}
        <button class="link-button" type="button" onClick={() => setOpen(!isOpen())}>
          {isOpen() ? 'Show less' : 'Show all'}
        </button>
      </Show>
    </div>
  );
}
