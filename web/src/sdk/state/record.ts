/**
 * Records whose keys people choose: a user may be called `constructor` or `__proto__`. They are read by these, and
 * written by object literals and `Object.fromEntries` only, which never touch a prototype.
 */
export type Keyed<T> = Readonly<Record<string, T>>;

export function own<T>(record: Keyed<T>, key: string | undefined): T | undefined {
  return key !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}

export function without<T>(record: Keyed<T>, key: string): Keyed<T> {
  if (!Object.hasOwn(record, key)) return record;
  const { [key]: _, ...rest } = record;
  return rest;
}
