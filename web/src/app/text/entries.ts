/** Entries and conversations in words: previews, notes about members. Pure. */
import { directWith, displayName, type Entry, type Item, itemName, type State } from '../../sdk';

const list = new Intl.ListFormat('en', { type: 'conjunction' });

export function nameOf(state: State, user: string | undefined): string {
  if (user === undefined) return 'Somebody';
  if (user === state.me) return 'You';
  const item = directWith(state, user);
  return item ? itemName(state, item) : displayName(state, user);
}

/** What a members or rename entry says, as a sentence. */
export function noteText(state: State, entry: Entry): string {
  const who = nameOf(state, entry.from);
  const names = (users: readonly string[]) =>
    list.format(
      users.length > 4
        ? [...users.slice(0, 3).map(user => inText(state, user)), `${users.length - 3} others`]
        : users.map(user => inText(state, user)),
    );
  if (entry.kind === 'rename') return `${who} named the group “${entry.name ?? ''}”`;
  const added = entry.add?.filter(user => user !== entry.from) ?? [];
  const removed = entry.remove ?? [];
  if (entry.seq === 1) return added.length > 0 ? `${who} made the group with ${names(added)}` : `${who} made the group`;
  if (removed.length === 1 && removed[0] === entry.from) return `${who} left`;
  if (added.length > 0) return `${who} added ${names(added)}`;
  if (removed.length > 0) return `${who} removed ${names(removed)}`;
  const [[user, role] = ['', 'member']] = Object.entries(entry.roles ?? {});
  return `${who} made ${inText(state, user)} ${role === 'member' ? 'a member' : `an ${role}`}`;
}

const inText = (state: State, user: string): string => (user === state.me ? 'you' : nameOf(state, user));

/** One line for the home list. */
export function previewText(state: State, item: Item): string {
  const { last } = item;
  if (!last) return 'No messages yet';
  if (last.kind === 'members' || last.kind === 'rename') return noteText(state, last);
  const isOwn = last.from === state.me;
  const text = last.redacted ? 'Message deleted' : `${(last.text ?? '').replace(/\s+/gu, ' ')}${last.cut ? '…' : ''}`;
  if (item.kind === 'direct') return text;
  return `${isOwn ? 'You' : nameOf(state, last.from)}: ${text}`;
}

/** Who types there now, as words; empty if nobody. */
export function typingText(state: State, item: Item, now: number): string {
  const users = Object.entries(state.typing[item.conversation] ?? {})
    .filter(([user, until]) => until > now && user !== state.me)
    .map(([user]) => user);
  if (users.length === 0) return '';
  if (item.kind === 'direct') return 'typing…';
  if (users.length > 2) return 'several people are typing…';
  return `${list.format(users.map(user => nameOf(state, user)))} ${users.length > 1 ? 'are' : 'is'} typing…`;
}
