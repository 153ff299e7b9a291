/** Beside the conversation: the person with whom it is, or the group's name, members and roles. */
import { createSignal, Match, Show, Switch } from 'solid-js';
import { displayName, type Item, itemName, type Place, presenceOf } from '../../sdk';
import { useApp } from '../context';
import { go } from '../route';
import { lastSeen } from '../text/time';
import { Avatar } from '../ui/avatar';
import { Archive, Bell, Block, Close, Edit, Leave, Mute, Pin } from '../ui/icons';
import { openMenu } from '../ui/menu';
import { attempt } from '../ui/toast';
import { GroupMembers } from './group_members';

export function Details(props: { place: Place; item: Item | undefined; onClose: () => void }) {
  const { client, state, now } = useApp();
  const user = () => props.item?.with ?? ('user' in props.place ? props.place.user : '');
  const name = () => (props.item ? itemName(state(), props.item) : displayName(state(), user()));
  const isGroup = () => props.item !== undefined && props.item.kind === 'group';
  const seen = () => {
    const presence = presenceOf(state(), user());
    if (presence?.state === 'online') return 'online';
    return presence?.last_seen ? lastSeen(presence.last_seen, now()) : '';
  };

  /** Asked once more: only others can undo it. */
  function leave(beside: Element, { conversation }: Item): void {
    const run = async () => {
      if (await attempt(client.leave(conversation), 'You are still in the group')) go(null);
    };
    openMenu(beside, {
      label: 'Leave the group?',
      acts: [
        { label: 'Stay', icon: <Close />, run: () => undefined },
        { label: 'Leave', icon: <Leave />, isDangerous: true, run: () => void run() },
      ],
    });
  }

  return (
    <aside class="details" aria-label="Details">
      <header class="details-head">
        <h2>{isGroup() ? 'Group' : 'Person'}</h2>
        <button class="icon-button" type="button" aria-label="Close the details" onClick={() => props.onClose()}>
          <Close />
        </button>
      </header>
      <div class="details-scroll">
        <div class="profile-head">
          <Avatar name={name()} id={user() || props.item?.conversation} isGroup={isGroup()} size="huge" />
          <Switch fallback={<h3 dir="auto">{name()}</h3>}>
            <Match when={isGroup() && props.item}>{item => <GroupName item={item()} />}</Match>
          </Switch>
          <p class="muted">
            <Switch fallback={`${props.item?.member_count ?? 0} members`}>
              <Match when={!isGroup()}>
                @{user()}
                <Show when={seen()}> · {seen()}</Show>
              </Match>
            </Switch>
          </p>
        </div>
        <Show when={props.item}>{item => <Settings item={item()} />}</Show>
        <Show when={isGroup() && props.item}>{item => <GroupMembers item={item()} />}</Show>
        <div class="details-acts">
          <Show when={!isGroup() && user() !== state().me}>
            <button
              class="act danger"
              type="button"
              onClick={() =>
                void attempt(client.block(user(), !(props.item?.blocked ?? false)), 'The block was not changed')
              }
            >
              <Block />
              {props.item?.blocked ? `Unblock ${name()}` : `Block ${name()}`}
            </button>
            <p class="muted small-print">Who is blocked is not told. What they write to you goes nowhere.</p>
          </Show>
          <Show when={isGroup() && props.item}>
            {item => (
              <button class="act danger" type="button" onClick={event => leave(event.currentTarget, item())}>
                <Leave />
                Leave the group
              </button>
            )}
          </Show>
        </div>
      </div>
    </aside>
  );
}

function Settings(props: { item: Item }) {
  const { client } = useApp();
  const set = (settings: { pinned?: boolean; muted?: boolean; archived?: boolean }) =>
    void attempt(client.configure(props.item.conversation, settings), 'That was not changed');
  return (
    <div class="details-acts">
      <button
        class="act"
        type="button"
        aria-pressed={props.item.muted}
        onClick={() => set({ muted: !props.item.muted })}
      >
        {props.item.muted ? <Bell /> : <Mute />}
        {props.item.muted ? 'Unmute' : 'Mute'}
      </button>
      <button
        class="act"
        type="button"
        aria-pressed={props.item.pinned}
        onClick={() => set({ pinned: !props.item.pinned })}
      >
        <Pin />
        {props.item.pinned ? 'Unpin' : 'Pin to the top'}
      </button>
      <button
        class="act"
        type="button"
        aria-pressed={props.item.archived}
        onClick={() => set({ archived: !props.item.archived })}
      >
        <Archive />
        {props.item.archived ? 'Unarchive' : 'Archive'}
      </button>
    </div>
  );
}

/** The group's name; a press makes it a field. */
function GroupName(props: { item: Item }) {
  const { client, state } = useApp();
  const [isEdited, setEdited] = createSignal(false);
  let field!: HTMLInputElement;
  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const name = field.value.trim();
    setEdited(false);
    if (name === '' || name === props.item.name) return;
    await attempt(client.rename(props.item.conversation, name), 'The name was not changed');
  }
  return (
    <Show
      when={isEdited()}
      fallback={
        <h3 class="group-name" dir="auto">
          {props.item.name}
          <button class="icon-button" type="button" aria-label="Rename the group" onClick={() => setEdited(true)}>
            <Edit />
          </button>
        </h3>
      }
    >
      <form class="field-row" onSubmit={submit}>
        <input
          class="field"
          aria-label="Name of the group"
          maxLength={state().limits.name_chars ?? 128}
          value={props.item.name ?? ''}
          ref={input => {
            field = input;
            queueMicrotask(() => input.select());
          }}
          onKeyDown={event => {
            if (event.key !== 'Escape') return;
            event.preventDefault();
            setEdited(false);
          }}
        />
        <button class="button primary" type="submit">
          Save
        </button>
      </form>
    </Show>
  );
}
