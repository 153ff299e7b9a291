/** The beginning of a conversation: who this is, and what to do next. */
import { Match, Switch } from 'solid-js';
import { displayName, type Item, itemName, type Place } from '../../sdk';
import { useApp } from '../context';
import { Avatar } from '../ui/avatar';

export function Hero(props: { place: Place; item: Item | undefined }) {
  const { state } = useApp();
  const user = () => props.item?.with ?? ('user' in props.place ? props.place.user : '');
  const name = () => (props.item ? itemName(state(), props.item) : displayName(state(), user()));
  return (
    <div class="hero">
      <Switch fallback={<Avatar name={name()} id={user()} size="huge" />}>
        <Match when={props.item && props.item.kind !== 'direct'}>
          <Avatar name={name()} id={props.item?.conversation} isGroup size="huge" />
        </Match>
      </Switch>
      <h2 dir="auto">{name()}</h2>
      <p class="muted">
        <Switch fallback={`This is the beginning of your conversation with ${name()}.`}>
          <Match when={props.item && props.item.kind !== 'direct'}>
            This is the beginning of the group.{' '}
            {(props.item?.member_count ?? 0) < 2 ? 'Add people from its details.' : ''}
          </Match>
          <Match when={!props.item}>No messages yet. Write the first one below.</Match>
        </Switch>
      </p>
    </div>
  );
}
