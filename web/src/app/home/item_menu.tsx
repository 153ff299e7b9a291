/** What can be done with a conversation as a whole: from its row and from its header. */
import type { Client, Item } from '../../sdk';
import { Archive, Bell, Check, Mute, Pin } from '../ui/icons';
import { type MenuAct, openMenu } from '../ui/menu';
import { attempt } from '../ui/toast';

export function openItemMenu(beside: Element, client: Client, item: Item, more: MenuAct[] = []): void {
  const { conversation, pinned, muted, archived } = item;
  const set = (settings: { pinned?: boolean; muted?: boolean; archived?: boolean }) =>
    void attempt(client.configure(conversation, settings), 'That was not changed');
  const acts: MenuAct[] = [
    ...more,
    { label: pinned ? 'Unpin' : 'Pin to the top', icon: <Pin />, run: () => set({ pinned: !pinned }) },
    { label: muted ? 'Unmute' : 'Mute', icon: muted ? <Bell /> : <Mute />, run: () => set({ muted: !muted }) },
    { label: archived ? 'Unarchive' : 'Archive', icon: <Archive />, run: () => set({ archived: !archived }) },
  ];
  if (item.unread > 0) {
    acts.push({ label: 'Mark as read', icon: <Check />, run: () => void client.markRead(conversation, item.last_seq) });
  }
  openMenu(beside, { label: 'Conversation', acts });
}
