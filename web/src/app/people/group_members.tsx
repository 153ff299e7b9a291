/** Who is in a group and what they may do there; adding, removing, roles. */
import { createEffect, createMemo, createSignal, For, on, Show } from 'solid-js';
import { displayName, type Item, knownIn, type Member, own, presenceOf, Refused, type Role } from '../../sdk';
import { useApp } from '../context';
import { go } from '../route';
import { nameOf } from '../text/entries';
import { Avatar } from '../ui/avatar';
import { Dialog } from '../ui/dialog';
import { AddPerson, Down, More } from '../ui/icons';
import { type MenuAct, openMenu } from '../ui/menu';
import { attempt } from '../ui/toast';
import { PeopleField } from './people_field';

/** More members than this are not told with the conversation. */
const MOST_AT_ONCE = 64;
const RANK: Record<Role, number> = { owner: 2, admin: 1, member: 0 };

export function GroupMembers(props: { item: Item }) {
  const { client, state } = useApp();
  const [isAdding, setAdding] = createSignal(false);
  const [beyond, setBeyond] = createSignal<readonly Member[]>([]);
  const [cursor, setCursor] = createSignal<string | null>(null);
  const [isWhole, setWhole] = createSignal(false);
  const conversation = () => props.item.conversation;
  /** Until the members are loaded: oneself, and who is known to be there from what was written. */
  const guessed = (): Member[] => [
    { user: state().me, role: props.item.role ?? 'member' },
    ...knownIn(state(), props.item).map((user): Member => ({ user, role: 'member' })),
  ];
  const members = createMemo(() => {
    const held = own(state().members, conversation()) ?? [];
    const told = [...beyond(), ...held];
    const byUser = new Map((told.length > 0 ? told : guessed()).map(member => [member.user, member]));
    return [...byUser.values()].sort(
      (one, other) =>
        RANK[other.role] - RANK[one.role] || nameOf(state(), one.user).localeCompare(nameOf(state(), other.user)),
    );
  });
  const isAdmin = () => props.item.role === 'admin' || props.item.role === 'owner';
  const rest = () => Math.max(0, (props.item.member_count ?? 0) - members().length);

  async function more(isAnew = false): Promise<void> {
    await attempt(
      client.membersPage(conversation(), isAnew ? null : cursor()).then(page => {
        setBeyond(held => (isAnew ? page.members : [...held, ...page.members]));
        setCursor(page.next);
        setWhole(page.next === null);
      }),
      'The members were not loaded',
    );
  }
  // The members of a large group come by pages only: from the first again when one came or went, or the line is back.
  createEffect(
    on([() => props.item.member_count ?? 0, () => state().status.phase === 'ready'], ([count, isReady]) => {
      if (count > MOST_AT_ONCE && isReady) void more(true);
    }),
  );

  function menu(beside: Element, member: Member): void {
    const { user, role } = member;
    const change = (frame: { remove?: string[]; roles?: Record<string, Role> }) =>
      void attempt(client.changeMembers({ conversation: conversation(), ...frame }), 'Nothing was changed');
    const acts: MenuAct[] = [{ label: 'Write to them', run: () => go({ user }) }];
    if (props.item.role === 'owner') {
      const other: Role = role === 'member' ? 'admin' : 'member';
      const label = other === 'admin' ? 'Make an admin' : 'Make a plain member';
      acts.push({ label, run: () => change({ roles: { [user]: other } }) });
    }
    if (isAdmin() && role !== 'owner') {
      acts.push({ label: 'Remove from the group', isDangerous: true, run: () => change({ remove: [user] }) });
    }
    openMenu(beside, { label: nameOf(state(), user), acts });
  }

  return (
    <section class="members" aria-label="Members">
      <h3 class="list-title">Members</h3>
      <Show when={isAdmin()}>
        <button class="act" type="button" onClick={() => setAdding(true)}>
          <AddPerson />
          Add people
        </button>
      </Show>
      <ul class="people">
        <For each={members()}>
          {member => (
            <li class="person">
              <Avatar
                name={member.user === state().me ? displayName(state(), member.user) : nameOf(state(), member.user)}
                id={member.user}
                size="small"
                isOnline={presenceOf(state(), member.user)?.state === 'online'}
              />
              <span class="person-name" dir="auto">
                {nameOf(state(), member.user)}
              </span>
              <Show when={member.role !== 'member'}>
                <span class="role">{member.role}</span>
              </Show>
              <Show when={member.user !== state().me}>
                <button
                  class="icon-button"
                  type="button"
                  aria-label={`What to do with ${member.user}`}
                  onClick={event => menu(event.currentTarget, member)}
                >
                  <More />
                </button>
              </Show>
            </li>
          )}
        </For>
      </ul>
      <Show when={rest() > 0 && !isWhole()}>
        <button class="act" type="button" onClick={() => void more()}>
          <Down />
          Show more of {rest()} others
        </button>
      </Show>
      <Show when={isAdding()}>
        <AddPeople conversation={conversation()} onClose={() => setAdding(false)} />
      </Show>
    </section>
  );
}

function AddPeople(props: { conversation: string; onClose: () => void }) {
  const { client } = useApp();
  const [users, setUsers] = createSignal<readonly string[]>([]);
  const [problem, setProblem] = createSignal('');
  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (users().length === 0) return void setProblem('Name somebody.');
    try {
      await client.changeMembers({ conversation: props.conversation, add: [...users()] });
      props.onClose();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      setProblem(error.users.length > 0 ? `Nobody here is called ${error.users.join(', ')}.` : error.message);
    }
  }
  return (
    <Dialog title="Add people" onClose={props.onClose}>
      <form class="dialog-form" onSubmit={submit}>
        <PeopleField label="Who" users={users()} onChange={setUsers} />
        <p class="problem" role="alert">
          {problem()}
        </p>
        <button class="button primary wide" type="submit">
          Add
        </button>
      </form>
    </Dialog>
  );
}
