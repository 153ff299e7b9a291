/** One conversation in the home list. */
import { createMemo, Match, Show, Switch } from 'solid-js';
import { itemName, own, pendingAt, presenceOf, receiptOf } from '../../sdk';
import { useApp } from '../context';
import { ReceiptMark } from '../conversation/receipt_mark';
import { drafts, placeKey } from '../drafts';
import { hashOf } from '../route';
import { previewText, typingText } from '../text/entries';
import { shortTime } from '../text/time';
import { Avatar } from '../ui/avatar';
import { Mute, Pin } from '../ui/icons';
import { openItemMenu } from './item_menu';

export function ItemRow(props: { id: string; isOpen: boolean; isTabStop: boolean }) {
  const { client, state, now } = useApp();
  const item = createMemo(() => own(state().items, props.id));
  return (
    <Show when={item()}>
      {item => {
        const name = () => itemName(state(), item());
        const draft = () =>
          props.isOpen
            ? undefined
            : drafts[placeKey(item().with === undefined ? { conversation: props.id } : { user: item().with ?? '' })];
        const typing = () => (state().typing[props.id] ? typingText(state(), item(), now()) : '');
        const waiting = createMemo(() =>
          state().outbox.length > 0 ? pendingAt(state(), { conversation: props.id }) : [],
        );
        const last = () => item().last;
        const isOwn = () => last()?.kind === 'message' && last()?.from === state().me && !last()?.redacted;
        const failed = () => waiting().some(pending => pending.refused);
        return (
          <a
            class="item"
            classList={{ open: props.isOpen, unread: item().unread > 0 }}
            href={hashOf({ conversation: props.id })}
            aria-current={props.isOpen ? 'page' : undefined}
            tabIndex={props.isTabStop ? 0 : -1}
            onContextMenu={event => {
              event.preventDefault();
              openItemMenu(event.currentTarget, client, item());
            }}
          >
            <Avatar
              name={name()}
              id={item().with ?? item().conversation}
              isGroup={item().kind !== 'direct'}
              isOnline={presenceOf(state(), item().with)?.state === 'online'}
            />
            <span class="item-text">
              <span class="item-top">
                <span class="item-name" dir="auto">
                  {name()}
                </span>
                <Show when={item().muted}>
                  <Mute class="small" />
                  <span class="visually-hidden">muted</span>
                </Show>
                <Show when={last()?.at}>{at => <span class="item-time">{shortTime(at(), now())}</span>}</Show>
              </span>
              <span class="item-bottom">
                <Switch
                  fallback={
                    <>
                      <Show when={isOwn()}>
                        <ReceiptMark receipt={receiptOf(state(), item(), last()?.seq ?? 0)} />
                      </Show>
                      <span class="item-preview" dir="auto">
                        {previewText(state(), item())}
                      </span>
                    </>
                  }
                >
                  <Match when={typing()}>
                    <span class="item-preview typing">{typing()}</span>
                  </Match>
                  <Match when={failed()}>
                    <span class="item-preview failed">A message was not sent</span>
                  </Match>
                  <Match when={draft()}>
                    <span class="item-preview">
                      <span class="draft">Draft:</span> {draft()}
                    </span>
                  </Match>
                  <Match when={waiting().length > 0}>
                    <ReceiptMark receipt="waiting" />
                    <span class="item-preview" dir="auto">
                      {waitingText(waiting().at(-1)?.frame)}
                    </span>
                  </Match>
                </Switch>
                <Show when={item().pinned}>
                  <Pin class="small" />
                  <span class="visually-hidden">pinned</span>
                </Show>
                <Show when={item().mentions > 0}>
                  <span class="badge mention" role="img" aria-label="you are mentioned">
                    @
                  </span>
                </Show>
                <Show when={item().unread > 0}>
                  <span class="badge" classList={{ quiet: item().muted }}>
                    {item().unread > 999 ? '999+' : item().unread}
                    <span class="visually-hidden"> unread</span>
                  </span>
                </Show>
              </span>
            </span>
          </a>
        );
      }}
    </Show>
  );
}

function waitingText(frame: { type: string; text?: string } | undefined): string {
  return frame?.type === 'send' ? (frame.text ?? '') : 'Waiting to be sent';
}
