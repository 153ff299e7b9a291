/** One's own profile: the name others see, the way to one's devices, and the way out of this one. */
import { createSignal, onMount } from 'solid-js';
import { own } from '../../sdk';
import { useApp } from '../context';
import { Avatar } from '../ui/avatar';
import { Dialog } from '../ui/dialog';
import { attempt, toast } from '../ui/toast';

export function ProfileDialog(props: { onClose: () => void; onDevices: () => void }) {
  const { client, state, logOut } = useApp();
  const waiting = () => state().outbox.filter(pending => pending.frame.type === 'send' && !pending.placed).length;
  const me = () => own(state().users, state().me);
  const [name, setName] = createSignal(me()?.name ?? '');
  onMount(async () => {
    const found = await client.lookUp(state().me).catch(() => null);
    if (found?.name && name() === '') setName(found.name);
  });

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (await attempt(client.setProfile(name().trim()), 'Your name was not changed')) toast('Your name is changed.');
  }

  return (
    <Dialog title="You" onClose={props.onClose}>
      <div class="profile-head">
        <Avatar name={name() || state().me} id={state().me} size="huge" />
        <p class="muted">@{state().me}</p>
      </div>
      <form class="dialog-form" onSubmit={submit}>
        <label for="profile-name">Display name</label>
        <div class="field-row">
          <input
            id="profile-name"
            class="field"
            maxLength={state().limits.name_chars ?? 128}
            placeholder={state().me}
            value={name()}
            onInput={event => setName(event.currentTarget.value)}
          />
          <button class="button primary" type="submit">
            Save
          </button>
        </div>
      </form>
      <div class="dialog-end">
        <button class="button wide" type="button" onClick={() => props.onDevices()}>
          Devices
        </button>
        <button class="button danger wide" type="button" onClick={logOut}>
          Log out
        </button>
        <p class="muted small-print">
          {waiting() > 0
            ? `${waiting() === 1 ? 'A message waits' : `${waiting()} messages wait`} to be sent: logging out now deletes what waits.`
            : 'Logging out forgets the conversations kept on this device; they stay on the server.'}
        </p>
      </div>
    </Dialog>
  );
}
