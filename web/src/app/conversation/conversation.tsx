/** One open conversation: header, history, composer, and the details beside them. Decides where the history stands. */
import { createEffect, createMemo, createSignal, on, onCleanup, Show } from 'solid-js';
import {
  Disconnected,
  type Entry,
  firstSeq,
  itemAt,
  knownIn,
  lastSeq,
  own,
  type Place,
  pendingAt,
  type Seq,
} from '../../sdk';
import { useApp } from '../context';
import { placeOf } from '../drafts';
import { Details } from '../people/details';
import { go, route } from '../route';
import { attempt } from '../ui/toast';
import { Announcer } from './announcer';
import { Composer, type Mode } from './composer';
import { Header } from './header';
import { Hero } from './hero';
import { type Goal, History } from './history';

const PAGE = 60;
/** More unread than this: the first page is around the unread line, not at the end. */
const MOST_FROM_END = 120;

/** `key`: stays the same while a person's first message makes the conversation. */
export function Conversation(props: { key: string }) {
  const { client, state } = useApp();
  const place = (): Place => placeOf(props.key);
  const item = createMemo(() => itemAt(state(), place()));
  const id = createMemo(() => item()?.conversation);
  const log = createMemo(() => own(state().logs, id()));
  const pending = createMemo(() => (state().outbox.length > 0 ? pendingAt(state(), place()) : []));
  const isReady = createMemo(() => state().status.phase === 'ready');

  const [mode, setMode] = createSignal<Mode>({ kind: 'new' });
  const [isDetailed, setDetailed] = createSignal(false);
  const [unreadAfter, setUnreadAfter] = createSignal<Seq | null>(null);
  const [goal, setGoal] = createSignal<Goal>({ seq: null });
  let reached: Goal | null = null;

  // -------------------------------------------------------------- where the history stands

  /** Fetches without a word about a lost line: the banner says it, and it is tried again when the line is back. */
  async function fetch(page: { before?: Seq; after?: Seq; around?: Seq; limit?: number }): Promise<void> {
    const conversation = id();
    if (conversation === undefined) return;
    try {
      await client.fetch(conversation, { limit: PAGE, ...page });
    } catch (error) {
      if (!(error instanceof Disconnected)) await attempt(Promise.reject(error), 'The messages were not loaded');
      // Not again at once.
      await new Promise(resolve => setTimeout(resolve, 1_000));
    }
  }

  function isHeld(seq: Seq): boolean {
    const held = log();
    return held !== undefined && firstSeq(held) <= seq && seq <= lastSeq(held);
  }

  const jump = (seq: Seq) => setGoal({ seq });
  const toNewest = () => setGoal({ seq: null });

  let opened: string | undefined;
  createEffect(() => {
    const conversation = id();
    if (conversation === undefined || opened === conversation) return;
    opened = conversation;
    const { unread, read_seq } = item() ?? { unread: 0, read_seq: 0 };
    setUnreadAfter(unread > 0 ? read_seq : null);
    const linked = route().seq;
    if (linked === undefined && unread > 0) setGoal({ seq: read_seq + 1, isUnread: true });
    else setGoal({ seq: linked ?? null });
  });
  // Loads what the goal needs; again when the line comes back before it was reached, and never after that.
  createEffect(
    on([id, isReady, goal], ([conversation, ready, wanted]) => {
      if (conversation === undefined || !ready || reached === wanted) return;
      const { seq } = wanted;
      if (seq === null ? log()?.attached : isHeld(seq)) return;
      const behind = (item()?.last_seq ?? 0) - (seq ?? 0);
      if (seq === null) void fetch({});
      else void fetch(behind < MOST_FROM_END ? { limit: behind + PAGE } : { around: seq });
    }),
  );
  createEffect(
    on(
      () => route().seq,
      seq => seq !== undefined && id() !== undefined && jump(seq),
      { defer: true },
    ),
  );
  // What comes while nobody looks is unread when they look again.
  createEffect(
    on(
      () => item()?.unread ?? 0,
      (unread, before) => {
        if (before === 0 && unread > 0 && !document.hasFocus()) setUnreadAfter(item()?.read_seq ?? null);
      },
    ),
  );

  // -------------------------------------------------------------- members: names, ticks, mentions

  createEffect(
    on([id, isReady, () => item()?.kind], ([conversation, ready, kind]) => {
      if (conversation === undefined || !ready || kind !== 'group') return;
      client.loadMembers(conversation).catch(() => undefined);
    }),
  );
  const strangers = createMemo(() => {
    const held = item();
    return held ? knownIn(state(), held).filter(user => !own(state().users, user)) : [];
  });
  const asked = new Set<string>();
  createEffect(() => {
    const users = strangers().filter(user => !asked.has(user));
    if (users.length === 0 || !isReady()) return;
    for (const user of users) asked.add(user);
    for (let at = 0; at < users.length; at += 100) client.lookUpAll(users.slice(at, at + 100)).catch(() => undefined);
  });

  // -------------------------------------------------------------- acts

  function onRead(seq: Seq): void {
    const held = item();
    if (held && seq > held.read_seq) void client.markRead(held.conversation, Math.min(seq, held.last_seq));
  }

  function withConversation(act: (conversation: string) => Promise<unknown>, what: string): void {
    const conversation = id();
    if (conversation !== undefined) void attempt(act(conversation), what);
  }

  const acts = {
    reply: (entry: Entry) => setMode({ kind: 'reply', entry }),
    edit: (entry: Entry) => setMode({ kind: 'edit', entry }),
    redact: (entry: Entry) =>
      withConversation(conversation => client.redact(conversation, entry.seq), 'The message was not deleted'),
    react: (entry: Entry, emoji: string, isOn: boolean) =>
      withConversation(
        conversation => client.react({ conversation, seq: entry.seq, emoji, on: isOn }),
        'The reaction was not kept',
      ),
    jump,
  };

  function editLast(): void {
    const own = log()?.entries.findLast(
      entry => entry.kind === 'message' && entry.from === state().me && !entry.redacted,
    );
    if (own) setMode({ kind: 'edit', entry: own });
  }

  const onEscape = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || event.defaultPrevented) return;
    if (isDetailed()) setDetailed(false);
    else if (matchMedia('(max-width: 719px)').matches) go(null);
  };
  window.addEventListener('keydown', onEscape);
  onCleanup(() => window.removeEventListener('keydown', onEscape));

  return (
    <div class="conversation" classList={{ detailed: isDetailed() }}>
      <section class="conversation-main" aria-label="Conversation">
        <Header place={place()} item={item()} isDetailed={isDetailed()} onDetails={() => setDetailed(!isDetailed())} />
        <History
          item={item()}
          log={log()}
          pending={pending()}
          unreadAfter={unreadAfter()}
          goal={goal()}
          onReached={goal => {
            reached = goal;
          }}
          acts={acts}
          onRead={onRead}
          fetchOlder={() => fetch({ before: firstSeq(log() ?? EMPTY) })}
          fetchNewer={() => fetch({ after: lastSeq(log() ?? EMPTY) })}
          onNewest={toNewest}
          hero={() => <Hero place={place()} item={item()} />}
        />
        <Show when={!log() && pending().length === 0}>
          <div class="history-waiting">
            <Show when={item()} fallback={<Hero place={place()} item={undefined} />}>
              <p class="muted">{isReady() ? 'Fetching messages…' : 'Messages show when you are connected.'}</p>
            </Show>
          </div>
        </Show>
        <Announcer log={log()} />
        <Show
          when={!item()?.blocked}
          fallback={
            <div class="composer blocked">
              <p>You blocked {item()?.with}.</p>
              <button
                class="button"
                type="button"
                onClick={() => void attempt(client.block(item()?.with ?? '', false), 'Still blocked')}
              >
                Unblock
              </button>
            </div>
          }
        >
          <Composer
            draftKey={props.key}
            place={place()}
            item={item()}
            mode={mode()}
            onMode={setMode}
            onSent={() => {
              setUnreadAfter(null);
              toNewest();
            }}
            onEditLast={editLast}
          />
        </Show>
      </section>
      <Show when={isDetailed()}>
        <Details place={place()} item={item()} onClose={() => setDetailed(false)} />
      </Show>
    </div>
  );
}

const EMPTY = { entries: [], first_seq: 0, attached: false, stale: false };
