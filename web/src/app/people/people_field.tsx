/** A field that gathers usernames: Enter, comma or a suggestion adds one, backspace in an empty field takes it back. */
import { createMemo, createSignal, createUniqueId, For } from 'solid-js';
import { directWith, homeOrder, itemName } from '../../sdk';
import { useApp } from '../context';
import { typedName } from '../text/names';
import { Close } from '../ui/icons';
import { PersonButton } from './person_button';

export function PeopleField(props: {
  label: string;
  users: readonly string[];
  onChange: (users: readonly string[]) => void;
}) {
  const { client, state } = useApp();
  const [text, setText] = createSignal('');
  const id = createUniqueId();
  const known = createMemo(() => {
    const sought = typedName(text()).toLowerCase();
    return homeOrder(Object.values(state().items).filter(item => item.kind === 'direct'))
      .filter(item => !props.users.includes(item.with ?? ''))
      .filter(item => `${item.with} ${itemName(state(), item)}`.toLowerCase().includes(sought))
      .slice(0, 5);
  });

  function add(names: string): void {
    const more = names.split(/[,\s]+/).map(typedName);
    change(
      props.users,
      more.filter(name => name !== ''),
    );
    setText('');
    for (const name of more.filter(each => each !== each.toLowerCase())) void correct(name);
  }

  function change(users: readonly string[], more: readonly string[]): void {
    props.onChange([...new Set([...users, ...more])].filter(user => user !== state().me));
  }

  /** "Bob" is bob, unless there is a Bob. */
  async function correct(name: string): Promise<void> {
    const found = await client.findUser(name).catch(() => null);
    if (!found || found.user === name || !props.users.includes(name)) return;
    change(
      props.users.map(user => (user === name ? found.user : user)),
      [],
    );
  }

  function onKeyDown(event: KeyboardEvent): void {
    if ((event.key === 'Enter' || event.key === ',') && text().trim() !== '') {
      event.preventDefault();
      add(text());
    } else if (event.key === 'Backspace' && text() === '') props.onChange(props.users.slice(0, -1));
  }

  const nameOf = (user: string) => {
    const item = directWith(state(), user);
    return item ? itemName(state(), item) : user;
  };

  return (
    <>
      <label for={id}>{props.label}</label>
      <div class="field chips">
        <For each={props.users}>
          {user => (
            <span class="person-chip">
              {nameOf(user)}
              <button
                type="button"
                aria-label={`Remove ${user}`}
                onClick={() => props.onChange(props.users.filter(each => each !== user))}
              >
                <Close />
              </button>
            </span>
          )}
        </For>
        <input
          id={id}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          placeholder={props.users.length > 0 ? '' : 'Usernames'}
          value={text()}
          onInput={event => setText(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          onBlur={() => text().trim() !== '' && add(text())}
        />
      </div>
      <ul class="people">
        <For each={known()}>
          {item => (
            <li>
              <PersonButton item={item} onChoose={add} />
            </li>
          )}
        </For>
      </ul>
    </>
  );
}
