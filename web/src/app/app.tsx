/** The whole page once somebody is logged in: home on the left, the open conversation on the right, or one of them. */
import { createEffect, createMemo, createResource, createSignal, on, onCleanup, Show } from 'solid-js';
import { Client, homeOrder, itemAt, namelessWriters, unreadTotal } from '../sdk';
import { AppContext, clock, stateSignal, useApp } from './context';
import { Conversation } from './conversation/conversation';
import { forgetDrafts, placeKey } from './drafts';
import { Home } from './home/home';
import { platformOf } from './people/platform';
import { go, replaceRoute, route } from './route';
import type { Account } from './session';
import { hasToken, tokenSource } from './signed_in';
import { Switcher } from './switcher';
import { Mark } from './ui/mark';
import { MenuHost } from './ui/menu';
import { StatusBanner } from './ui/status_banner';
import { Toasts } from './ui/toast';

export function App(props: { account: Account; onLogOut: () => void }) {
  const token = hasToken() ? tokenSource : undefined;
  const [client] = createResource(() => Client.open({ url: location.origin, token, ...props.account }));
  return (
    <Show when={client()} keyed>
      {each => <Shell client={each} onLogOut={props.onLogOut} />}
    </Show>
  );
}

/** Presence is asked for those whom one talked to last. */
const MOST_WATCHED = 300;

function Shell(props: { client: Client; onLogOut: () => void }) {
  const { client } = props;
  const state = stateSignal(client);
  const now = clock();
  const [isSwitching, setSwitching] = createSignal(false);

  async function logOut(): Promise<void> {
    await client.logOut();
    forgetDrafts();
    props.onLogOut();
  }

  createEffect(() => {
    const unread = unreadTotal(state());
    document.title = unread > 0 ? `(${unread > 99 ? '99+' : unread}) Tidings` : 'Tidings';
  });

  // One's own display name, for the corner and the groups.
  const isReady = createMemo(() => state().status.phase === 'ready');
  createEffect(
    on(isReady, ready => {
      if (!ready) return;
      client.lookUp(state().me).catch(() => undefined);
      // So that one knows it again in the list of one's devices.
      client.changeDevice(client.device, { platform: platformOf(navigator.userAgent) }).catch(() => undefined);
    }),
  );

  // Home names who wrote last in groups; whoever is asked about once is not asked about again.
  const asked = new Set<string>();
  createEffect(() => {
    if (!isReady()) return;
    const users = namelessWriters(state()).filter(user => !asked.has(user));
    for (const user of users) asked.add(user);
    for (let at = 0; at < users.length; at += 100) client.lookUpAll(users.slice(at, at + 100)).catch(() => undefined);
  });

  // The first message to a person makes a conversation: from then on the address names it.
  createEffect(() => {
    const { place } = route();
    const item = place && 'user' in place ? itemAt(state(), place) : undefined;
    if (item) replaceRoute({ conversation: item.conversation });
  });

  const people = createMemo(() => {
    const direct = homeOrder(Object.values(state().items)).filter(item => item.kind === 'direct');
    const { place } = route();
    const open = place && 'user' in place ? [place.user] : [];
    const users = [...open, ...direct.slice(0, MOST_WATCHED).map(item => item.with ?? '')];
    return users.sort().join('\n');
  });
  createEffect(() => client.watch(people() === '' ? [] : people().split('\n')));

  function onKeyDown(event: KeyboardEvent): void {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      setSwitching(true);
    }
  }
  const onPageHide = () => void client.save();
  window.addEventListener('keydown', onKeyDown);
  window.addEventListener('pagehide', onPageHide);
  onCleanup(() => {
    window.removeEventListener('keydown', onKeyDown);
    window.removeEventListener('pagehide', onPageHide);
    void client.close();
  });

  /** The same while a person's first message makes the conversation, so that the view stays as it is. */
  const openKey = createMemo(() => {
    const { place } = route();
    if (!place) return null;
    const item = itemAt(state(), place);
    return placeKey(item?.kind === 'direct' ? { user: item.with ?? '' } : place);
  });

  const isMissing = createMemo(() => {
    const { place } = route();
    return place !== null && 'conversation' in place && state().loaded && !itemAt(state(), place);
  });

  return (
    <AppContext.Provider value={{ client, state, now, logOut: () => void logOut() }}>
      <div
        class="shell"
        classList={{ 'has-open': openKey() !== null }}
        data-phase={state().status.phase}
        data-transport={state().status.transport}
        data-loaded={state().loaded}
      >
        <button class="skip-link" type="button" onClick={focusComposer}>
          Skip to the conversation
        </button>
        <StatusBanner />
        <Home onSwitch={() => setSwitching(true)} />
        <main class="stage" aria-label="Conversation">
          <Show when={openKey()} keyed fallback={<NothingOpen />}>
            {key => (
              <Show when={!isMissing()} fallback={<Missing />}>
                <Conversation key={key} />
              </Show>
            )}
          </Show>
        </main>
      </div>
      <Show when={isSwitching()}>
        <Switcher onClose={() => setSwitching(false)} />
      </Show>
      <MenuHost />
      <Toasts />
    </AppContext.Provider>
  );
}

function focusComposer(): void {
  document.querySelector<HTMLElement>('#composer')?.focus();
}

/** A link to what is not, or no longer, this person's. */
function Missing() {
  return (
    <div class="nothing-open">
      <Mark class="nothing-mark" />
      <h2>This conversation is not among yours</h2>
      <p class="muted">You may have left it, or the link is for somebody else.</p>
      <button class="button" type="button" onClick={() => go(null)}>
        Show my conversations
      </button>
    </div>
  );
}

function NothingOpen() {
  const { state } = useApp();
  const hasNone = () => state().loaded && Object.keys(state().items).length === 0;
  return (
    <div class="nothing-open">
      <Mark class="nothing-mark" />
      <Show
        when={hasNone()}
        fallback={
          <>
            <h2>Choose a conversation</h2>
            <p class="muted">
              Or press <kbd>Ctrl</kbd> <kbd>K</kbd> to find one by name.
            </p>
          </>
        }
      >
        <h2>Welcome to Tidings</h2>
        <p class="muted">Write to somebody, or make a group, with the pencil at the top left.</p>
      </Show>
    </div>
  );
}
