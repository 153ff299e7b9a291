/** Names in few letters, and as people type them. Pure. */

/** Of the first word and the last, each by its first letter or digit. */
export function initials(name: string): string {
  const words = name.split(/[\s._-]+/).filter(word => /[\p{L}\p{N}]/u.test(word));
  const letters = (words.length > 1 ? [words[0], words.at(-1)] : [words[0]]).map(
    word => /[\p{L}\p{N}]/u.exec(word ?? '')?.[0] ?? '',
  );
  return letters.join('').toUpperCase() || '?';
}

/** A username as it was typed, without the @ that stands before it everywhere on the page. */
export const typedName = (text: string): string => text.trim().replace(/^@/, '');
