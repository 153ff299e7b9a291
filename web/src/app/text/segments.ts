/** Cuts a message's text into plain text, links and mentions. Pure; what it gives is shown as text nodes only. */

export type Segment =
  | { kind: 'text'; text: string }
  | { kind: 'link'; text: string; href: string }
  | { kind: 'mention'; text: string; user: string };

/** Web addresses only: no other scheme is ever made a link. */
const LINK = /\b(?:https?:\/\/|www\.)[^\s<>"'`\u202a-\u202e\u2066-\u2069]+/giu;
/** What ends a sentence rather than an address. */
const TRAILING = /[.,:;!?…]+$/u;

export function segments(text: string, mentions: readonly string[] = []): Segment[] {
  const parts: Segment[] = [];
  let at = 0;
  for (const match of text.matchAll(LINK)) {
    const link = trimmed(match[0]);
    const href = hrefOf(link);
    if (href === null) continue;
    parts.push(...withMentions(text.slice(at, match.index), mentions), { kind: 'link', text: link, href });
    at = match.index + link.length;
  }
  return [...parts, ...withMentions(text.slice(at), mentions)];
}

function trimmed(link: string): string {
  let kept = link.replace(TRAILING, '');
  // A closing bracket belongs to the address only if it was opened there.
  while (kept.endsWith(')') && kept.split('(').length < kept.split(')').length) kept = kept.slice(0, -1);
  return kept.replace(TRAILING, '');
}

function hrefOf(link: string): string | null {
  try {
    const url = new URL(/^www\./i.test(link) ? `https://${link}` : link);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : null;
  } catch {
    return null;
  }
}

function withMentions(text: string, mentions: readonly string[]): Segment[] {
  if (text === '') return [];
  const names = mentions.map(mention => (mention.startsWith('@') ? mention : `@${mention}`));
  // The longest first: "@anna" is not "@ann" and an "a".
  names.sort((one, other) => other.length - one.length);
  for (const name of names) {
    const at = text.toLowerCase().indexOf(name.toLowerCase());
    if (at < 0) continue;
    const end = at + name.length;
    return [
      ...withMentions(text.slice(0, at), mentions),
      { kind: 'mention', text: text.slice(at, end), user: name.slice(1) },
      ...withMentions(text.slice(end), mentions),
    ];
  }
  return [{ kind: 'text', text }];
}

const EMOJI =
  /^(?:\p{RI}\p{RI}|\p{Emoji}(?:\p{EMod}|\ufe0f\u20e3?|[\u{e0020}-\u{e007f}]+)?(?:\u200d\p{Emoji}(?:\p{EMod}|\ufe0f)?)*)$/u;
const MOST_LARGE = 6;
const GRAPHEMES = new Intl.Segmenter();

/** Whether a message is a few emoji and nothing else: those are shown large. */
export function isOnlyEmoji(text: string): boolean {
  const bare = text.replace(/\s/gu, '');
  // Cheap answers first: nearly every message is words.
  if (bare === '' || bare.length > 80 || !/^[\p{Emoji}\p{EComp}]+$/u.test(bare) || /^[\d#*]+$/.test(bare)) return false;
  const graphemes = Array.from(GRAPHEMES.segment(bare), each => each.segment);
  return graphemes.length <= MOST_LARGE && graphemes.every(each => EMOJI.test(each) && !/^[\d#*]$/.test(each));
}

/** Users of `known` that the text names with an @. */
export function mentionsIn(text: string, known: readonly string[]): string[] {
  const lower = text.toLowerCase();
  return known.filter(user => {
    const name = user.startsWith('@') ? user.toLowerCase() : `@${user.toLowerCase()}`;
    for (let at = lower.indexOf(name); at >= 0; at = lower.indexOf(name, at + 1)) {
      const isWord = (char: string) => /[\p{L}\p{N}_]/u.test(char);
      if (!isWord(lower.charAt(at - 1)) && !isWord(lower.charAt(at + name.length))) return true;
    }
    return false;
  });
}
