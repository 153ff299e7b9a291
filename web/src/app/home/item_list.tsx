/** The scrolling part of home: only what is on screen is in the page. One tab stop; arrows move inside. */
import { createEffect, createMemo, createSignal, on } from 'solid-js';
import { Virtualizer, type VirtualizerHandle } from 'virtua/solid';
import { type Item, itemAt } from '../../sdk';
import { useApp } from '../context';
import { hashOf, route } from '../route';
import { ItemRow } from './item_row';

const ROW_PX = 72;

export function ItemList(props: { items: readonly Item[] }) {
  const { state } = useApp();
  let list: VirtualizerHandle | undefined;
  let scroller!: HTMLDivElement;
  // Ids, not items: a row stays in the page while its item changes.
  const ids = createMemo(() => props.items.map(item => item.conversation));
  const openId = createMemo(() => {
    const { place } = route();
    return place ? itemAt(state(), place)?.conversation : undefined;
  });
  const [focused, setFocused] = createSignal<string>();
  const tabStop = () => [focused(), openId()].find(id => id !== undefined && ids().includes(id)) ?? ids()[0];

  createEffect(
    on(openId, id => {
      if (id !== undefined) setFocused(id);
    }),
  );

  function onKeyDown(event: KeyboardEvent): void {
    const at = ids().indexOf(tabStop() ?? '');
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: ids().length - 1 }[event.key];
    const id = next === undefined ? undefined : ids()[next];
    if (next === undefined || id === undefined) return;
    event.preventDefault();
    setFocused(id);
    list?.scrollToIndex(next, { align: 'nearest' });
    // The row may come into the page only after the scroll; by then the person may be elsewhere.
    requestAnimationFrame(() => {
      if (!scroller.contains(document.activeElement) && document.activeElement !== document.body) return;
      scroller.querySelector<HTMLElement>(`[href="${CSS.escape(hashOf({ conversation: id }))}"]`)?.focus();
    });
  }

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: the keys are for the links inside
    <div class="items" ref={scroller} onKeyDown={onKeyDown}>
      <Virtualizer data={ids()} itemSize={ROW_PX} bufferSize={400} ref={handle => (list = handle)} scrollRef={scroller}>
        {id => <ItemRow id={id} isOpen={openId() === id} isTabStop={tabStop() === id} />}
      </Virtualizer>
    </div>
  );
}
