/** Above the history: with whom, whether they are there, and what can be done. */
import { Show } from 'solid-js';
import { displayName, type Item, itemName, type Place, presenceOf } from '../../sdk';
import { useApp } from '../context';
import { openItemMenu } from '../home/item_menu';
import { go } from '../route';
import { typingText } from '../text/entries';
import { lastSeen } from '../text/time';
import { Avatar } from '../ui/avatar';
import { Back, Info, More } from '../ui/icons';

export function Header(props: { place: Place; item: Item | undefined; isDetailed: boolean; onDetails: () => void }) {
  const { client, state, now } = useApp();
  const user = () => props.item?.with ?? ('user' in props.place ? props.place.user : undefined);
  const presence = () => presenceOf(state(), user());
  const name = () => (props.item ? itemName(state(), props.item) : displayName(state(), user() ?? ''));

  const line = () => {
    const { item } = props;
    const typing = item ? typingText(state(), item, now()) : '';
    if (typing) return typing;
    if (item && item.kind !== 'direct') {
      const count = item.member_count ?? 0;
      return count === 1 ? 'only you' : `${count} members`;
    }
    if (presence()?.state === 'online') return 'online';
    const seen = presence()?.last_seen;
    return seen ? lastSeen(seen, now()) : `@${user() ?? ''}`;
  };

  return (
    <header class="conversation-head">
      <button
        class="icon-button back-button"
        type="button"
        aria-label="Back to all conversations"
        onClick={() => go(null)}
      >
        <Back />
      </button>
      <button class="head-person" type="button" aria-expanded={props.isDetailed} onClick={() => props.onDetails()}>
        <Avatar
          name={name()}
          id={user() ?? props.item?.conversation}
          isGroup={props.item !== undefined && props.item.kind !== 'direct'}
          isOnline={presence()?.state === 'online'}
        />
        <span class="head-text">
          <span class="head-name" dir="auto">
            {name()}
          </span>
          <span class="head-line">{line()}</span>
        </span>
      </button>
      <button
        class="icon-button"
        type="button"
        aria-label="Details"
        aria-pressed={props.isDetailed}
        onClick={() => props.onDetails()}
      >
        <Info />
      </button>
      <Show when={props.item}>
        {item => (
          <button
            class="icon-button"
            type="button"
            aria-label="More"
            onClick={event => openItemMenu(event.currentTarget, client, item())}
          >
            <More />
          </button>
        )}
      </Show>
    </header>
  );
}
