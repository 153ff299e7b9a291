/**
 * The scrolling history: only what is on screen is in the page. It stays where the reader is when older entries come
 * in front, follows the newest when the reader is there, and says how far it was read.
 */
import { createEffect, createMemo, createSignal, Match, on, onCleanup, Show, Switch } from 'solid-js';
import { Virtualizer, type VirtualizerHandle } from 'virtua/solid';
import { firstSeq, type Item, type Log, lastSeq, type Pending, type Seq } from '../../sdk';
import { useApp } from '../context';
import { noteText } from '../text/entries';
import { dayName } from '../text/time';
import { Down } from '../ui/icons';
import { type Listing, listingOf } from './listing';
import { Message } from './message';
import type { MessageActs } from './message_menu';
import { type Row, rowsOf } from './rows';

/** So near to an end more is fetched. */
const NEAR_PX = 800;
/** So near to the newest the reader counts as being there. */
const BOTTOM_PX = 60;
const READ_EVERY_MS = 300;
const STILL_FRAMES = 12;
const MOST_FRAMES = 60;

/** Each is a new wish, also when it names the same entry again. */
export interface Goal {
  /** Null: the newest. */
  seq: Seq | null;
  /** It is the first that is unread: the line before it is the goal. */
  isUnread?: boolean;
}

export interface HistoryProps {
  item: Item | undefined;
  log: Log | undefined;
  pending: readonly Pending[];
  unreadAfter: Seq | null;
  /** Where to be at first and whenever it changes: an entry, or the end. */
  goal: Goal;
  onReached(goal: Goal): void;
  acts: MessageActs;
  onRead(seq: Seq): void;
  fetchOlder(): Promise<void>;
  fetchNewer(): Promise<void>;
  onNewest(): void;
  hero: () => unknown;
}

export function History(props: HistoryProps) {
  const { state, now } = useApp();
  const [list, setList] = createSignal<VirtualizerHandle>();
  const [isAtEnd, setAtEnd] = createSignal(true);
  let scroller!: HTMLDivElement;
  /** Why nothing may be fetched now: a page is under way, or the list on its way to a place. */
  let holds = 0;

  const [settled, setSettled] = createSignal(0);
  const listing = createMemo((before: Listing | undefined): Listing => {
    settled();
    const { log, pending, unreadAfter } = props;
    const rows = rowsOf({ log, pending, me: state().me, unreadAfter });
    const next = listingOf(before, rows, () => scroller.scrollHeight > scroller.clientHeight);
    if (next.isHalf) afterFrames(2, () => setSettled(held => held + 1));
    return next;
  });
  const keys = createMemo(() => listing().keys);

  const rowAt = (index: number): Row | undefined => listing().byKey.get(keys()[index] ?? '');
  const indexOf = (seq: Seq): number =>
    keys().findIndex(key => {
      const row = listing().byKey.get(key);
      return row !== undefined && 'entry' in row && row.entry.seq >= seq && row.entry.seq > 0;
    });

  // -------------------------------------------------------------- where to be

  function toEnd(): void {
    list()?.scrollToIndex(keys().length - 1, { align: 'end' });
  }

  let reached: Goal | null = null;
  createEffect(() => {
    const handle = list();
    if (!handle || !props.log || keys().length === 0 || reached === props.goal) return;
    const { seq } = props.goal;
    if (seq === null) {
      // The end of a window that is not at the newest is no end.
      if (!props.log.attached) return;
      reached = props.goal;
      props.onReached(props.goal);
      setAtEnd(true);
      return toEnd();
    }
    // Not before the window is there that has it; what is before the first or behind the last is nowhere.
    const { log } = props;
    if (seq < firstSeq(log) && firstSeq(log) > log.first_seq) return;
    if (seq > lastSeq(log) && !log.attached) return;
    const line = keys().indexOf('unread');
    const isLine = line >= 0 && props.goal.isUnread === true;
    const index = isLine ? line : indexOf(Math.min(seq, lastSeq(log)));
    if (index < 0) return;
    reached = props.goal;
    props.onReached(props.goal);
    setAtEnd(false);
    handle.scrollToIndex(index, { align: isLine ? 'start' : 'center', offset: isLine ? -80 : 0 });
    // It measures its way there. What came in front meanwhile would lead it astray; and it may be the end that it finds.
    holds += 1;
    whenStill(scroller, () => {
      holds -= 1;
      look();
    });
  });

  createEffect(on(keys, () => isAtEnd() && reached !== null && toEnd(), { defer: true }));
  const resized = new ResizeObserver(() => isAtEnd() && toEnd());
  queueMicrotask(() => resized.observe(scroller));
  onCleanup(() => resized.disconnect());

  // -------------------------------------------------------------- what is seen

  function look(): void {
    const handle = list();
    if (!handle || reached !== props.goal) return;
    // The page's own figures: the list's lag behind while it makes up for what came in front.
    const above = scroller.scrollTop;
    const below = scroller.scrollHeight - above - scroller.clientHeight;
    setAtEnd(below < BOTTOM_PX && (props.log?.attached ?? false));
    const { log } = props;
    if (log && above < NEAR_PX && firstSeq(log) > Math.max(1, log.first_seq)) more(props.fetchOlder);
    if (log && below < NEAR_PX && !log.attached) more(props.fetchNewer);
    read();
  }

  function more(fetch: () => Promise<void>): void {
    if (holds > 0) return;
    holds += 1;
    // One page at a time: the next when this one is shown.
    void fetch().finally(() =>
      afterFrames(3, () => {
        holds -= 1;
        look();
      }),
    );
  }

  let readTimer: ReturnType<typeof setTimeout> | null = null;
  function read(): void {
    readTimer ??= setTimeout(() => {
      readTimer = null;
      const handle = list();
      if (!handle || !props.log || document.hidden || !document.hasFocus()) return;
      if (isAtEnd() && props.log.attached) return props.onRead(lastSeq(props.log));
      const last = handle.findItemIndex(handle.scrollOffset + handle.viewportSize - 24);
      for (let index = last; index >= 0; index -= 1) {
        const row = rowAt(index);
        if (row && 'entry' in row && row.entry.seq > 0) return props.onRead(row.entry.seq);
      }
    }, READ_EVERY_MS);
  }
  createEffect(on([keys, isAtEnd, () => props.log], () => requestAnimationFrame(look)));
  const onFocus = () => read();
  window.addEventListener('focus', onFocus);
  document.addEventListener('visibilitychange', onFocus);
  onCleanup(() => {
    window.removeEventListener('focus', onFocus);
    document.removeEventListener('visibilitychange', onFocus);
    if (readTimer !== null) clearTimeout(readTimer);
  });

  // -------------------------------------------------------------- keys: arrows move from message to message

  function onKeyDown(event: KeyboardEvent): void {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const here = (document.activeElement as HTMLElement | null)?.closest<HTMLElement>('.message');
    if (step === undefined || !here) return;
    event.preventDefault();
    const messages = [...scroller.querySelectorAll<HTMLElement>('.message')];
    messages.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top);
    const next = messages[messages.indexOf(here) + step];
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: 'nearest' });
  }

  /** The list itself takes the focus by Tab, and hands it to the newest message. */
  function onFocusIn(event: FocusEvent): void {
    if (event.target !== scroller || !scroller.matches(':focus-visible')) return;
    const messages = [...scroller.querySelectorAll<HTMLElement>('.message')];
    messages.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top);
    const bottom = scroller.getBoundingClientRect().bottom;
    messages.findLast(each => each.getBoundingClientRect().top < bottom - 20)?.focus({ preventScroll: true });
  }

  return (
    <div class="history-place">
      <div
        class="history"
        ref={scroller}
        role="log"
        aria-label="Messages"
        aria-live="off"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keys
        tabIndex={0}
        onKeyDown={onKeyDown}
        onFocusIn={onFocusIn}
      >
        <div class="history-grow" />
        <Virtualizer
          data={keys()}
          ref={handle => setList(() => handle)}
          scrollRef={scroller}
          shift={listing().isShifted}
          bufferSize={600}
          onScroll={look}
        >
          {key => (
            <Show when={listing().byKey.get(key)}>
              {row => (
                <Switch>
                  <Match when={messageRow(row())}>
                    {message => (
                      <Message
                        row={message()}
                        item={props.item}
                        acts={props.acts}
                        isTarget={props.goal.seq === message().entry.seq && props.goal.isUnread !== true}
                      />
                    )}
                  </Match>
                  <Match when={rowOf(row(), 'day')}>
                    {day => (
                      <div class="day">
                        <span>{dayName(day().at, now())}</span>
                      </div>
                    )}
                  </Match>
                  <Match when={rowOf(row(), 'unread')}>
                    <div class="unread-line">
                      <span>New messages</span>
                    </div>
                  </Match>
                  <Match when={rowOf(row(), 'note')}>
                    {note => (
                      <p class="note" dir="auto">
                        {noteText(state(), note().entry)}
                      </p>
                    )}
                  </Match>
                  <Match when={rowOf(row(), 'start')}>{props.hero() as never}</Match>
                </Switch>
              )}
            </Show>
          )}
        </Virtualizer>
      </div>
      <Show when={!isAtEnd() && props.log}>
        <button class="to-newest" type="button" onClick={() => props.onNewest()}>
          <Down />
          <Show when={(props.item?.unread ?? 0) > 0} fallback={<span class="visually-hidden">Jump to the newest</span>}>
            <span class="badge">{props.item?.unread}</span>
            <span class="visually-hidden">new messages: jump to the newest</span>
          </Show>
        </button>
      </Show>
    </div>
  );
}

/** Once nothing in it has moved for a few frames, or it never comes to rest. */
function whenStill(scroller: Element, act: () => void, still = 0, rest = MOST_FRAMES): void {
  const { scrollTop, scrollHeight } = scroller;
  requestAnimationFrame(() => {
    const isSame = scroller.scrollTop === scrollTop && scroller.scrollHeight === scrollHeight;
    if (!scroller.isConnected) return;
    if ((isSame && still >= STILL_FRAMES) || rest === 0) act();
    else whenStill(scroller, act, isSame ? still + 1 : 0, rest - 1);
  });
}

/** What came in front is placed and measured over a few frames; until then nothing more may come. */
function afterFrames(count: number, act: () => void): void {
  if (count === 0) act();
  else requestAnimationFrame(() => afterFrames(count - 1, act));
}

function rowOf<T extends Row['type']>(row: Row, type: T): Extract<Row, { type: T }> | undefined {
  return row.type === type ? (row as Extract<Row, { type: T }>) : undefined;
}

const messageRow = (row: Row) => rowOf(row, 'message');
