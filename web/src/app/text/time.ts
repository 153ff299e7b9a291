/** Times as people say them. Order is never told by them. */

const TIME = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const SHORT_DATE = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const DATE_OF_YEAR = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const LONG_DATE = new Intl.DateTimeFormat(undefined, {
  weekday: 'long',
  day: 'numeric',
  month: 'long',
  year: 'numeric',
});
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });
const DAY_MS = 86_400_000;

export const timeOfDay = (at: number): string => TIME.format(at);
export const fullTime = (at: number): string => FULL.format(at);

/** Days before today, by the calendar. */
function daysAgo(at: number, now: number): number {
  const day = (each: number) => new Date(each).setHours(0, 0, 0, 0);
  return Math.round((day(now) - day(at)) / DAY_MS);
}

/** One value a calendar day. */
export function dayKey(at: number): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

/** For a divider: "Today", "Yesterday", "Monday", "Monday, 3 March 2025". */
export function dayName(at: number, now: number): string {
  const days = daysAgo(at, now);
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return days < 7 ? WEEKDAY.format(at) : LONG_DATE.format(at);
}

/** For the home list: the shortest that tells. */
export function shortTime(at: number, now: number): string {
  const days = daysAgo(at, now);
  if (days <= 0) return timeOfDay(at);
  if (days === 1) return 'Yesterday';
  if (days < 7) return WEEKDAY.format(at).slice(0, 3);
  return date(at, now);
}

/** With the year, unless it is this one. */
function date(at: number, now: number): string {
  const isThisYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return (isThisYear ? SHORT_DATE : DATE_OF_YEAR).format(at);
}

export function lastSeen(at: number, now: number): string {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 2) return 'last seen just now';
  if (minutes < 60) return `last seen ${minutes} minutes ago`;
  const days = daysAgo(at, now);
  if (days <= 0) return `last seen today at ${timeOfDay(at)}`;
  return days === 1 ? `last seen yesterday at ${timeOfDay(at)}` : `last seen ${date(at, now)}`;
}
