/**
 * The round by a login service. The server sends a browser without a good token there; it comes back to
 * `/signed-in#token=…&state=…`. What is done with that is here: the token is taken out of the address and kept as a cookie,
 * which opens the page and nothing else. See docs/protocol.md, "Who you are".
 */
import type { TokenSource } from '../sdk';
import { Http } from '../sdk/http';
import { device, forgetAccount, rememberAccount, rememberedAccount } from './session';

const RETURN_PATH = '/signed-in';
const TOKEN = 'tidings_token';
const STATE = 'tidings_state';
/** A token's own end counts; the cookie only must not go before it. */
const COOKIE_LIFE_S = 30 * 24 * 3600;

/** Whether a login service gave this browser a token. */
export function hasToken(): boolean {
  return cookie(TOKEN) !== undefined;
}

/** The token that is held; for one that is refused the page goes to the login service, and what waits goes with it. */
export const tokenSource: TokenSource = refused => {
  const held = cookie(TOKEN);
  if (held !== undefined && held !== refused) return held;
  forgetToken();
  location.assign('/');
  return new Promise<string>(() => undefined);
};

export function forgetToken(): void {
  setCookie(TOKEN, '', 0, '/');
}

/** Called before anything is shown: takes the token of a browser that comes back with one, and learns who it stands for. */
export async function signIn(): Promise<void> {
  if (location.pathname === RETURN_PATH) await takeToken();
  const token = cookie(TOKEN);
  if (token === undefined || rememberedAccount() !== null) return;
  const http = new Http(location.origin, { token: () => token, device: device() });
  const me = await http.get<{ user: string }>('/v1/me');
  rememberAccount({ username: me.user, device: device() });
}

async function takeToken(): Promise<void> {
  const given = new URLSearchParams(location.hash.slice(1));
  const [token, state, asked] = [given.get('token'), given.get('state'), cookie(STATE)];
  setCookie(STATE, '', 0, RETURN_PATH);
  // Nobody who looks at the address or the history later finds it.
  history.replaceState(null, '', '/');
  // Only an answer to this browser's own question: a link with somebody else's token logs nobody in.
  const isAnswer = asked !== undefined && state === asked;
  if (token === null || !isAnswer || !/^[\w.-]+$/.test(token)) return leave();
  setCookie(TOKEN, token, COOKIE_LIFE_S, '/');
  forgetAccount();
}

/** Begins the round anew. */
function leave(): Promise<never> {
  location.assign('/');
  return new Promise<never>(() => undefined);
}

function cookie(name: string): string | undefined {
  const pairs = document.cookie.split('; ').map(pair => pair.split('='));
  return pairs.find(([given]) => given === name)?.[1] || undefined;
}

function setCookie(name: string, value: string, lifeSeconds: number, path: string): void {
  const secure = location.protocol === 'https:' ? '; Secure' : '';
  // biome-ignore lint/suspicious/noDocumentCookie: CookieStore is not in every browser that people have
  document.cookie = `${name}=${value}; Path=${path}; Max-Age=${lifeSeconds}; SameSite=Lax${secure}`;
}
