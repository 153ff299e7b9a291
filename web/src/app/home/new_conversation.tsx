/** Starting to write to somebody: a name, with those already known as suggestions. */
import { createMemo, createSignal, For, Show } from 'solid-js';
import { homeOrder, itemName, Refused } from '../../sdk';
import { useApp } from '../context';
import { PersonButton } from '../people/person_button';
import { go } from '../route';
import { typedName } from '../text/names';
import { Dialog } from '../ui/dialog';

export function NewConversation(props: { onClose: () => void }) {
  const { client, state } = useApp();
  const [name, setName] = createSignal('');
  const [problem, setProblem] = createSignal('');
  const known = createMemo(() => {
    const sought = typedName(name()).toLowerCase();
    return homeOrder(Object.values(state().items).filter(item => item.kind === 'direct'))
      .filter(item => `${item.with} ${itemName(state(), item)}`.toLowerCase().includes(sought))
      .slice(0, 6);
  });

  function open(user: string): void {
    props.onClose();
    go({ user });
  }

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const user = typedName(name());
    if (user === '') return void setProblem('Type a username.');
    const isMe = 'That is you. Type somebody else’s username.';
    if (user === state().me) return void setProblem(isMe);
    try {
      const found = await client.findUser(user);
      if (found?.user === state().me) setProblem(isMe);
      else if (found) open(found.user);
      else setProblem(`There is nobody called “${user}” here. Look at the spelling, or ask them to log in once.`);
    } catch (error) {
      // Whether the name exists shows when the first message is sent; writing it need not wait.
      if (error instanceof Refused && error.code !== 'not_found') setProblem(error.message);
      else open(user);
    }
  }

  return (
    <Dialog title="New conversation" onClose={props.onClose}>
      <form class="dialog-form" onSubmit={submit}>
        <label for="new-user">To</label>
        <div class="field-row">
          <input
            id="new-user"
            class="field"
            data-autofocus
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            maxLength={128}
            placeholder="Username"
            aria-describedby="new-user-problem"
            value={name()}
            onInput={event => {
              setName(event.currentTarget.value);
              setProblem('');
            }}
          />
          <button class="button primary" type="submit">
            Open
          </button>
        </div>
        <p id="new-user-problem" class="problem" role="alert">
          {problem()}
        </p>
      </form>
      <Show when={known().length > 0}>
        <h3 class="list-title">People you talk to</h3>
        <ul class="people">
          <For each={known()}>
            {item => (
              <li>
                <PersonButton item={item} onChoose={open} />
              </li>
            )}
          </For>
        </ul>
      </Show>
    </Dialog>
  );
}
