/** What can be done with a message, and the quick reactions. */
import type { Entry, Item, Seq } from '../../sdk';
import { hashOf } from '../route';
import { Copy, Edit, Link, Reply, Trash } from '../ui/icons';
import { type MenuAct, openMenu } from '../ui/menu';
import { toast } from '../ui/toast';
import type { MessageRow } from './rows';

export interface MessageActs {
  reply(entry: Entry): void;
  edit(entry: Entry): void;
  redact(entry: Entry): void;
  react(entry: Entry, emoji: string, on: boolean): void;
  jump(seq: Seq): void;
}

const QUICK = ['👍', '❤️', '😂', '🎉', '😮', '😢'];

function quick(entry: Entry, acts: MessageActs) {
  return QUICK.map(emoji => {
    const isOn = entry.reactions?.some(reaction => reaction.emoji === emoji && reaction.mine) ?? false;
    return { label: emoji, isOn, run: () => acts.react(entry, emoji, !isOn) };
  });
}

export function openReactions(beside: Element, entry: Entry, acts: MessageActs): void {
  openMenu(beside, { label: 'React', acts: [], quick: quick(entry, acts) });
}

async function copy(text: string, done: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    toast('The browser does not let this page copy.');
  }
}

export function openMessageMenu(
  beside: Element,
  row: MessageRow,
  isOwn: boolean,
  item: Item | undefined,
  acts: MessageActs,
): void {
  const { entry } = row;
  if (entry.redacted) return;
  const text: MenuAct = { label: 'Copy text', icon: <Copy />, run: () => void copy(entry.text ?? '', 'Copied.') };
  if (row.pending || !item) return openMenu(beside, { label: 'Message', acts: [text] });
  const link = `${location.origin}/${hashOf({ conversation: item.conversation }, entry.seq)}`;
  const list: MenuAct[] = [
    { label: 'Reply', icon: <Reply />, run: () => acts.reply(entry) },
    text,
    { label: 'Copy link', icon: <Link />, run: () => void copy(link, 'Link copied.') },
  ];
  if (isOwn) list.push({ label: 'Edit', icon: <Edit />, run: () => acts.edit(entry) });
  if (isOwn || item.role === 'admin' || item.role === 'owner') {
    list.push({ label: 'Delete for everybody', icon: <Trash />, isDangerous: true, run: () => acts.redact(entry) });
  }
  openMenu(beside, { label: 'Message', acts: list, quick: quick(entry, acts) });
}
