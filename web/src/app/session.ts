/** Who is logged in on this device, and under which name the device is known. Kept in `localStorage`. */
import { Refused, randomId } from '../sdk';
import { Http } from '../sdk/http';

export interface Account {
  username: string;
  device: string;
}

const USER = 'tidings.user';
const DEVICE = 'tidings.device';

export function rememberedAccount(): Account | null {
  const username = localStorage.getItem(USER);
  return username ? { username, device: device() } : null;
}

export function rememberAccount(account: Account): void {
  localStorage.setItem(USER, account.username);
}

export function forgetAccount(): void {
  localStorage.removeItem(USER);
}

/** The name of this installation. */
export function device(): string {
  const known = localStorage.getItem(DEVICE);
  if (known) return known;
  const made = randomId('web-');
  localStorage.setItem(DEVICE, made);
  return made;
}

/** Asks the server who `username` is: it maps case and spaces, or says where to log in instead. */
export async function logIn(username: string): Promise<Account> {
  const http = new Http(location.origin, { username, device: device() });
  try {
    return await http.logIn();
  } catch (error) {
    if (error instanceof Refused && error.code === 'login_is_elsewhere') location.assign('/');
    throw error;
  }
}
