/** Starts the page: who is here, then the app; keeps the shell for when there is no network. */
import './styles/base.css';
import './styles/home.css';
import './styles/conversation.css';
import './styles/overlays.css';
import './styles/cluster.css';
import { createSignal, Match, Switch } from 'solid-js';
import { render } from 'solid-js/web';
import { App } from './app';
import { Login } from './login';
import { type Account, forgetAccount, rememberAccount, rememberedAccount } from './session';
import { forgetToken, hasToken, signIn } from './signed_in';

function Root() {
  const [account, setAccount] = createSignal<Account | null>(rememberedAccount());
  const logIn = (next: Account) => {
    rememberAccount(next);
    setAccount(next);
  };
  const logOut = () => {
    forgetAccount();
    location.hash = '';
    if (hasToken()) {
      forgetToken();
      location.assign('/');
    }
    setAccount(null);
  };
  // Another tab logged in or out.
  window.addEventListener('storage', event => {
    if (event.key === 'tidings.user') location.reload();
  });
  return (
    <Switch fallback={<Login onLogIn={logIn} />}>
      <Match when={account()} keyed>
        {each => <App account={each} onLogOut={logOut} />}
      </Match>
    </Switch>
  );
}

/** Where operators see the fleet. People never load it. */
const OPERATORS_PATH = '/cluster';

const root = document.getElementById('app');
if (location.pathname === OPERATORS_PATH) {
  void import('./cluster/cluster').then(({ Cluster }) => {
    if (root) render(() => <Cluster />, root);
  });
} else {
  signIn()
    // Without a network: who this is was learned before, or is learned when the page is opened again.
    .catch(() => undefined)
    .then(() => {
      if (root) render(() => <Root />, root);
    });
}

if ('serviceWorker' in navigator && import.meta.env.PROD) {
  // The app works without it; it only opens slower, and not offline.
  navigator.serviceWorker.register('/sw.js').catch(() => undefined);
}
