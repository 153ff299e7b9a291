/** Cuts a message's text into plain text, code, links and mentions. Pure; what it gives is shown as text nodes only. */

export type Segment =
  | { kind: 'text'; text: string }
  /** What stood between backticks; a block has lines of its own. */
  | { kind: 'code'; text: string; isBlock: boolean }
  | { kind: 'link'; text: string; href: string }
  | { kind: 'mention'; text: string; user: string };

/** Web addresses only: no other scheme is ever made a link. */
const LINK = /\b(?:https?:\/\/|www\.)[^\s<>"'`\u202a-\u202e\u2066-\u2069]+/giu;
/** What ends a sentence rather than an address. */
const TRAILING = /[.,:;!?…]+$/u;

const FENCE = '```';
/** Words of a line. */
const CODE = /(?<![\w`])`([^`\n]+)`(?![\w`])/gu;

/** Takes time in proportion to the text, whatever it is: anybody may have written it. */
export function segments(text: string, mentions: readonly string[] = []): Segment[] {
  const parts: Segment[] = [];
  let at = 0;
  let from = 0;
  for (;;) {
    const open = text.indexOf(FENCE, from);
    const close = open < 0 ? -1 : text.indexOf(FENCE, open + FENCE.length);
    if (close < 0) return [...parts, ...withCode(text.slice(at), mentions)];
    from = open + FENCE.length;
    // The first line may name the language.
    const block = text
      .slice(from, close)
      .replace(/^[\w+#.-]*[^\S\n]*\n/, '')
      .replace(/\n$/, '');
    if (block.trim() === '') continue;
    parts.push(...withCode(text.slice(at, open), mentions), { kind: 'code', text: block, isBlock: true });
    from = close + FENCE.length;
    // A block stands in lines of its own.
    at = text[from] === '\n' ? from + 1 : from;
  }
}

/** The beginning of a text. Where it ends within a block of code, that ends there, too. */
export function beginning(text: string, lines: number, chars: number): string {
  const short = text.split('\n').slice(0, lines).join('\n').slice(0, chars);
  // Not in the middle of a character that takes two units.
  const whole = short.replace(/[\ud800-\udbff]$/, '').trimEnd();
  return whole.split(FENCE).length % 2 === 0 ? `${whole}\n${FENCE}` : whole;
}

function withCode(text: string, mentions: readonly string[]): Segment[] {
  const parts: Segment[] = [];
  let at = 0;
  for (const match of text.matchAll(CODE)) {
    const [all, code = ''] = match;
    if (code.trim() === '') continue;
    parts.push(...withLinks(text.slice(at, match.index), mentions), { kind: 'code', text: code, isBlock: false });
    at = match.index + all.length;
  }
  return [...parts, ...withLinks(text.slice(at), mentions)];
}

function withLinks(text: string, mentions: readonly string[]): Segment[] {
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
    const at = wholeAt(text.toLowerCase(), name.toLowerCase());
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
    return wholeAt(lower, name) >= 0;
  });
}

/** Where `name` stands by itself, not within a longer word; -1: nowhere. */
function wholeAt(text: string, name: string): number {
  const isWord = (char: string) => /[\p{L}\p{N}_]/u.test(char);
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    if (!isWord(text.charAt(at - 1)) && !isWord(text.charAt(at + name.length))) return at;
  }
  return -1;
}
