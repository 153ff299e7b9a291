/** The home list: who is there, what is new, what to start. */
import { createMemo, createSignal, Match, Show, Switch } from 'solid-js';
import { displayName, homeOrder, type Item, isCalled } from '../../sdk';
import { useApp } from '../context';
import { DevicesDialog } from '../people/devices';
import { ProfileDialog } from '../people/profile_dialog';
import { Avatar } from '../ui/avatar';
import { Compose, People, Person, Search } from '../ui/icons';
import { Mark } from '../ui/mark';
import { openMenu } from '../ui/menu';
import { ItemList } from './item_list';
import { NewConversation } from './new_conversation';
import { NewGroup } from './new_group';

const FILTERS = {
  All: (item: Item) => !item.archived,
  Unread: (item: Item) => item.unread > 0 && !item.archived,
  Groups: (item: Item) => item.kind === 'group' && !item.archived,
  Archived: (item: Item) => item.archived,
};
type Filter = keyof typeof FILTERS;

export function Home(props: { onSwitch: () => void }) {
  const { state } = useApp();
  const [query, setQuery] = createSignal('');
  const [filter, setFilter] = createSignal<Filter>('All');
  const [dialog, setDialog] = createSignal<'conversation' | 'group' | 'profile' | 'devices' | null>(null);

  const shown = createMemo(() => {
    const sought = query().trim().toLowerCase();
    const all = Object.values(state().items);
    // A search looks everywhere, whatever the filter.
    if (sought === '') return homeOrder(all.filter(FILTERS[filter()]), state().outbox);
    return homeOrder(all.filter(item => isCalled(state(), item, sought)));
  });

  /** A dialog that another one has replaced closes, too. */
  function close(which: 'profile' | 'devices'): void {
    if (dialog() === which) setDialog(null);
  }

  function openNew(event: MouseEvent & { currentTarget: Element }): void {
    openMenu(event.currentTarget, {
      label: 'New',
      acts: [
        { label: 'New conversation', icon: <Person />, run: () => setDialog('conversation') },
        { label: 'New group', icon: <People />, run: () => setDialog('group') },
      ],
    });
  }

  return (
    <nav class="home" aria-label="Conversations">
      <header class="home-head">
        <Mark class="home-mark" />
        <h1>Tidings</h1>
        <button class="icon-button" type="button" aria-label="New conversation or group" onClick={openNew}>
          <Compose />
        </button>
        <button class="avatar-button" type="button" aria-label="Your profile" onClick={() => setDialog('profile')}>
          <Avatar name={displayName(state(), state().me)} id={state().me} size="small" />
        </button>
      </header>
      <div class="search">
        <Search />
        <input
          type="search"
          aria-label="Search conversations by name"
          placeholder="Search by name"
          value={query()}
          onInput={event => setQuery(event.currentTarget.value)}
          onKeyDown={event => event.key === 'Escape' && setQuery('')}
        />
        <button
          class="search-key"
          type="button"
          aria-label="Ctrl K: switch conversation"
          onClick={() => props.onSwitch()}
        >
          <kbd>Ctrl K</kbd>
        </button>
      </div>
      <fieldset class="filters" aria-label="Show">
        {(Object.keys(FILTERS) as Filter[]).map(each => (
          <button type="button" class="chip" aria-pressed={filter() === each} onClick={() => setFilter(each)}>
            {each}
          </button>
        ))}
      </fieldset>
      <Show
        when={shown().length > 0}
        fallback={
          !state().loaded && query() === '' ? (
            <Loading />
          ) : (
            <Empty query={query()} filter={filter()} onNew={() => setDialog('conversation')} />
          )
        }
      >
        <ItemList items={shown()} />
      </Show>
      <Switch>
        <Match when={dialog() === 'conversation'}>
          <NewConversation onClose={() => setDialog(null)} />
        </Match>
        <Match when={dialog() === 'group'}>
          <NewGroup onClose={() => setDialog(null)} />
        </Match>
        <Match when={dialog() === 'profile'}>
          <ProfileDialog onClose={() => close('profile')} onDevices={() => setDialog('devices')} />
        </Match>
        <Match when={dialog() === 'devices'}>
          <DevicesDialog onClose={() => close('devices')} />
        </Match>
      </Switch>
    </nav>
  );
}

/** What the list will look like, until it is there. */
function Loading() {
  return (
    <div>
      <p class="visually-hidden">Fetching your conversations…</p>
      {[0, 1, 2, 3, 4, 5].map(nth => (
        <div class="skeleton" style={{ '--nth': nth }}>
          <span />
        </div>
      ))}
    </div>
  );
}

function Empty(props: { query: string; filter: Filter; onNew: () => void }) {
  return (
    <div class="home-empty">
      <Switch>
        <Match when={props.query.trim() !== ''}>
          <p>No conversation is called “{props.query.trim()}”.</p>
          <button class="button" type="button" onClick={() => props.onNew()}>
            Write to somebody new
          </button>
        </Match>
        <Match when={props.filter === 'Unread'}>
          <p class="muted">You have read everything.</p>
        </Match>
        <Match when={props.filter === 'Archived'}>
          <p class="muted">What you archive is kept here, out of the way.</p>
        </Match>
        <Match when={props.filter === 'Groups'}>
          <p class="muted">You are in no group yet. Make one with the pencil above.</p>
        </Match>
        <Match when={true}>
          <p>No conversations yet.</p>
          <p class="muted">All you need is somebody’s username.</p>
          <button class="button primary" type="button" onClick={() => props.onNew()}>
            Write to somebody
          </button>
        </Match>
      </Switch>
    </div>
  );
}
