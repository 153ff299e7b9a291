/** Names that a client gives. `crypto.randomUUID` needs a secure page; these work on any. */

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

/** `prefix` and 80 random bits: enough that two devices never meet. */
export function randomId(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return prefix + Array.from(bytes, byte => ALPHABET[byte & 31]).join('');
}
