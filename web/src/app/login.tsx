/** The first thing a newcomer sees: one field. */
import { createSignal, Show } from 'solid-js';
import { Refused } from '../sdk';
import { type Account, logIn } from './session';
import { Mark } from './ui/mark';

export function Login(props: { onLogIn: (account: Account) => void }) {
  const [name, setName] = createSignal('');
  const [problem, setProblem] = createSignal('');
  const [isBusy, setBusy] = createSignal(false);

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (name().trim() === '') return void setProblem('Type the name that others will find you by.');
    setBusy(true);
    setProblem('');
    try {
      props.onLogIn(await logIn(name().trim()));
    } catch (error) {
      setProblem(
        error instanceof Refused ? error.message : 'The server cannot be reached. Look at your network and try again.',
      );
    } finally {
      setBusy(false);
    }
  }

  return (
    <main class="login">
      <form class="login-card" onSubmit={submit}>
        <Mark class="login-mark" />
        <h1>Tidings</h1>
        <p class="muted">Messages that arrive.</p>
        <label for="username">Your username</label>
        <input
          id="username"
          name="username"
          class="field"
          autocomplete="username"
          autocapitalize="none"
          spellcheck={false}
          maxLength={128}
          placeholder="ada"
          aria-describedby="login-problem"
          aria-invalid={problem() !== ''}
          value={name()}
          onInput={event => setName(event.currentTarget.value)}
          ref={input => queueMicrotask(() => input.focus())}
        />
        <p id="login-problem" class="problem" role="alert">
          <Show when={problem()}>{problem()}</Show>
        </p>
        <button class="button primary wide" type="submit" disabled={isBusy()}>
          {isBusy() ? 'One moment…' : 'Continue'}
        </button>
      </form>
    </main>
  );
}
