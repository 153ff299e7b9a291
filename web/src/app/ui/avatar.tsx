/** A person's or a group's picture: initials on one of eight quiet colours, the same for a name everywhere. */
import { Show } from 'solid-js';
import { initials } from '../text/names';

const HUES = 8;

/** Which of the colours `.hue-n` is this name's. */
export function hue(name: string): number {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) % 100_003;
  return hash % HUES;
}

export function Avatar(props: {
  name: string;
  /** What the colour is made of; the name if absent. */
  id?: string;
  isGroup?: boolean;
  isOnline?: boolean;
  size?: 'small' | 'large' | 'huge';
}) {
  return (
    <span
      class={`avatar ${props.size ?? ''} hue-${hue(props.id ?? props.name)}`}
      classList={{ group: props.isGroup ?? false }}
      aria-hidden="true"
    >
      {initials(props.name)}
      <Show when={props.isOnline}>
        <span class="presence-dot" />
      </Show>
    </span>
  );
}
