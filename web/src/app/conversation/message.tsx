/** One message: who, what, when, what came of it. */
import { createMemo, For, Match, Show, Switch } from 'solid-js';
import { type Entry, find, type Item, receiptOf } from '../../sdk';
import { useApp } from '../context';
import { nameOf } from '../text/entries';
import { fullTime, timeOfDay } from '../text/time';
import { Avatar, hue } from '../ui/avatar';
import { More, Reply, Smile } from '../ui/icons';
import { attempt } from '../ui/toast';
import { type MessageActs, openMessageMenu, openReactions } from './message_menu';
import { MessageText } from './message_text';
import { type Mark, ReceiptMark } from './receipt_mark';
import type { MessageRow } from './rows';

export function Message(props: { row: MessageRow; item: Item | undefined; acts: MessageActs; isTarget: boolean }) {
  const { client, state } = useApp();
  const entry = () => props.row.entry;
  const isOwn = () => entry().from === state().me;
  const isGroup = () => props.item !== undefined && props.item.kind !== 'direct';
  const refused = () => props.row.pending?.refused;

  const receipt = createMemo((): Mark => {
    if (refused()) return 'failed';
    if (props.row.pending?.placed) return 'sent';
    if (props.row.pending || !props.item) return 'waiting';
    return receiptOf(state(), props.item, entry().seq);
  });
  const menu = (beside: Element) => openMessageMenu(beside, props.row, isOwn(), props.item, props.acts);

  return (
    // biome-ignore lint/a11y/useSemanticElements: a row of the log; `article` would say more than it is
    <div
      class="message"
      classList={{ own: isOwn(), first: props.row.isFirst, last: props.row.isLast, target: props.isTarget }}
      role="group"
      aria-label={`${nameOf(state(), entry().from)}, ${fullTime(entry().at ?? 0)}`}
      tabIndex={-1}
      data-seq={entry().seq}
      onKeyDown={event => {
        if (event.key !== 'Enter' || event.target !== event.currentTarget) return;
        event.preventDefault();
        menu(event.currentTarget);
      }}
    >
      <Show when={isGroup() && !isOwn()}>
        <span class="message-avatar">
          <Show when={props.row.isLast}>
            <Avatar name={nameOf(state(), entry().from)} id={entry().from} size="small" />
          </Show>
        </span>
      </Show>
      <div class="message-column">
        {/* biome-ignore lint/a11y/useKeyWithClickEvents lint/a11y/noStaticElementInteractions: on touch a press opens the menu; keys have Enter on the row */}
        <div
          class="bubble"
          classList={{ edited: entry().edited_seq !== undefined && !entry().redacted }}
          onContextMenu={event => {
            if (getSelection()?.toString() || (event.target as Element).closest('a')) return;
            event.preventDefault();
            menu(event.currentTarget);
          }}
          onClick={event => {
            const isControl = (event.target as Element).closest('a, button') !== null;
            if (!isControl && matchMedia('(hover: none)').matches) menu(event.currentTarget);
          }}
        >
          <Show when={isGroup() && !isOwn() && props.row.isFirst}>
            <div class={`sender hue-${hue(entry().from ?? '')}`} dir="auto">
              {nameOf(state(), entry().from)}
            </div>
          </Show>
          <Show when={entry().reply_to} keyed>
            {seq => <Quote seq={seq} item={props.item} onJump={() => props.acts.jump(seq)} />}
          </Show>
          <Switch fallback={<MessageText entry={entry()} me={state().me} />}>
            <Match when={entry().redacted}>
              <p class="text redacted">
                {entry().redacted?.by === state().me ? 'You deleted this message' : 'This message was deleted'}
              </p>
            </Match>
          </Switch>
          <span class="meta">
            <Show when={entry().edited_seq !== undefined && !entry().redacted}>
              <span>edited</span>
            </Show>
            <time datetime={new Date(entry().at ?? 0).toISOString()} title={fullTime(entry().at ?? 0)}>
              {timeOfDay(entry().at ?? 0)}
            </time>
            <Show when={isOwn() && !entry().redacted}>
              <ReceiptMark receipt={receipt()} />
            </Show>
          </span>
        </div>
        <Show when={refused()}>
          {why => (
            <p class="refused" role="alert">
              <span>Not sent: {why().message}</span>
              <button class="link-button" type="button" onClick={() => void client.retry(entry().client_msg_id ?? '')}>
                Try again
              </button>
              <button
                class="link-button"
                type="button"
                onClick={() => void client.discard(entry().client_msg_id ?? '')}
              >
                Delete
              </button>
            </p>
          )}
        </Show>
        <Reactions entry={entry()} item={props.item} />
      </div>
      <Show when={!props.row.pending && !entry().redacted}>
        <div class="message-tools">
          <button
            class="icon-button"
            type="button"
            tabIndex={-1}
            aria-label="React"
            onClick={event => openReactions(event.currentTarget, entry(), props.acts)}
          >
            <Smile />
          </button>
          <button
            class="icon-button"
            type="button"
            tabIndex={-1}
            aria-label="Reply"
            onClick={() => props.acts.reply(entry())}
          >
            <Reply />
          </button>
          <button
            class="icon-button"
            type="button"
            tabIndex={-1}
            aria-label="More"
            onClick={event => menu(event.currentTarget)}
          >
            <More />
          </button>
        </div>
      </Show>
    </div>
  );
}

function Reactions(props: { entry: Entry; item: Item | undefined }) {
  const { client } = useApp();
  return (
    <Show when={props.entry.reactions && props.entry.reactions.length > 0}>
      <div class="reactions">
        <For each={props.entry.reactions}>
          {reaction => (
            <button
              type="button"
              class="reaction"
              aria-pressed={reaction.mine}
              aria-label={`${reaction.emoji}, ${reaction.count}`}
              onClick={() => {
                if (!props.item) return;
                const { conversation } = props.item;
                const { emoji, mine } = reaction;
                void attempt(client.react({ conversation, seq: props.entry.seq, emoji, on: !mine }), 'No reaction');
              }}
            >
              {reaction.emoji} <span class="count">{reaction.count}</span>
            </button>
          )}
        </For>
      </div>
    </Show>
  );
}

/** What a message answers. An entry that is not loaded is still a way there. */
function Quote(props: { seq: number; item: Item | undefined; onJump: () => void }) {
  const { state } = useApp();
  const entry = createMemo(() => {
    const log = props.item && state().logs[props.item.conversation];
    return log ? find(log, props.seq) : undefined;
  });
  return (
    <button type="button" class="quote" onClick={() => props.onJump()}>
      <Show when={entry()} fallback={<span class="quote-text">An earlier message</span>}>
        {quoted => (
          <>
            <span class="quote-name" dir="auto">
              {nameOf(state(), quoted().from)}
            </span>
            <span class="quote-text" dir="auto">
              {quoted().redacted ? 'Deleted message' : (quoted().text ?? '').slice(0, 200)}
            </span>
          </>
        )}
      </Show>
    </button>
  );
}
