/** Making a group: a name and its first members. */
import { createSignal } from 'solid-js';
import { Refused } from '../../sdk';
import { useApp } from '../context';
import { PeopleField } from '../people/people_field';
import { go } from '../route';
import { Dialog } from '../ui/dialog';

export function NewGroup(props: { onClose: () => void }) {
  const { client, state } = useApp();
  const [name, setName] = createSignal('');
  const [members, setMembers] = createSignal<readonly string[]>([]);
  const [problem, setProblem] = createSignal('');
  const [isBusy, setBusy] = createSignal(false);

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (name().trim() === '') return void setProblem('Give the group a name.');
    if (state().status.phase !== 'ready') return void setProblem('A group is made when you are connected.');
    setBusy(true);
    try {
      const { conversation } = await client.createGroup(name().trim(), [...members()]);
      props.onClose();
      go({ conversation });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      setProblem(error.users.length > 0 ? `Nobody here is called ${error.users.join(', ')}.` : error.message);
    } finally {
      setBusy(false);
    }
  }

  return (
    <Dialog title="New group" onClose={props.onClose}>
      <form class="dialog-form" onSubmit={submit}>
        <label for="group-name">Name</label>
        <input
          id="group-name"
          class="field"
          data-autofocus
          autocomplete="off"
          maxLength={state().limits.name_chars ?? 128}
          placeholder="Weekend plans"
          value={name()}
          onInput={event => setName(event.currentTarget.value)}
        />
        <PeopleField label="Members" users={members()} onChange={setMembers} />
        <p class="problem" role="alert">
          {problem()}
        </p>
        <button class="button primary wide" type="submit" disabled={isBusy()}>
          {isBusy() ? 'Making it…' : 'Make the group'}
        </button>
      </form>
    </Dialog>
  );
}
