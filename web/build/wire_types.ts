/**
 * The wire's types, read off the Rust sources of `tidings-proto`: what serde writes there is what stands here. It knows
 * the few shapes that those files use, and refuses what it does not know. `test/wire.test.ts` runs it.
 */

/** Who writes the frames of a file: it may leave out what has a default; who reads gets what is not skipped. */
type Writer = 'client' | 'server';

interface Field {
  doc: string;
  attributes: string;
  name: string;
  type: string;
}

interface Variant {
  attributes: string;
  name: string;
  /** Of a variant that holds one value. */
  holds?: string;
  fields?: Field[];
}

interface Shape {
  doc: string;
  attributes: string;
  name: string;
  fields?: Field[];
  variants?: Variant[];
}

const PLAIN: Record<string, string> = {
  String: 'string',
  str: 'string',
  bool: 'boolean',
  RawValue: 'Record<string, unknown>',
};
const NUMBERS = new Set(['u16', 'u32', 'u64', 'i64', 'usize']);
/** Names of our own for what Rust says otherwise, or says twice. */
const RENAMED: Record<string, string> = { Refused: 'Refusal' };

const HEAD = `/** Made from the Rust types of \`tidings-proto\` by \`npm run types\`; not to be changed by hand. */`;

/** The two files of `src/sdk/wire`. `read`: gives a file of the crate's `src`. */
export function wireTypes(read: (file: string) => string): { client: string; server: string } {
  const [client, server, limits] = ['frames/client.rs', 'frames/server.rs', 'limits.rs'].map(read) as [
    string,
    string,
    string,
  ];
  const codes = [...block(read('codes.rs'), 'codes! {').matchAll(/^\s*\w+ "(\w+)"/gm)].map(([, code]) => `'${code}'`);
  const shapes = shapesOf(client).filter(shape => shape.name !== 'Request');
  const commands = [...block(client, 'commands! {').matchAll(/"(\w+)" (\w+),/g)];
  const clientTypes = [
    HEAD,
    IDS,
    ...shapes.map(shape => emit(shape, 'client', commands.find(([, , name]) => name === shape.name)?.[1])),
    union(
      'Command',
      commands.map(([, , name]) => name ?? ''),
    ),
  ];
  const frames = [...block(server, 'frames! {').matchAll(/"(\w+)" \w+ (\w+)/g)];
  const serverShapes = [...shapesOf(limits), ...shapesOf(server).filter(shape => shape.name !== 'Answers')];
  const serverTypes = [
    HEAD,
    `import type { ConversationId, DeviceId, History, RequestId, Role, Seq, UserId } from './client';`,
    union('Code', [...codes, UNKNOWN]),
    ...serverShapes.map(shape => emit(shape, 'server')),
    union(
      'Frame',
      frames.map(([, wire, name]) => `({ type: '${wire}' } & ${renamed(name ?? '')})`),
    ),
  ];
  return { client: `${clientTypes.join('\n\n')}\n`, server: `${serverTypes.join('\n\n')}\n` };
}

const IDS = `export type UserId = string;
export type ConversationId = string;
export type DeviceId = string;
/** The place of an entry in its conversation: 1, 2, 3 …, dense, given by the server. */
export type Seq = number;
/** A request's name for its answer. */
export type RequestId = number | string;`;

/** What a newer server may say besides. */
const UNKNOWN = '(string & {})';
const renamed = (name: string): string => RENAMED[name] ?? name;

function union(name: string, members: string[], doc = ''): string {
  return `${doc}export type ${name} =\n${members.map(member => `  | ${member}`).join('\n')};`;
}

// -------------------------------------------------------------- reading Rust

/** What stands between `opening` and the `}` at the beginning of a line. */
function block(source: string, opening: string): string {
  const start = source.indexOf(`\n${opening}\n`);
  if (start < 0) throw new Error(`no ${opening} in the Rust sources`);
  return source.slice(start + opening.length + 2, source.indexOf('\n}', start));
}

/** The types of a file that are not inside of something else. */
function shapesOf(source: string): Shape[] {
  const found = source.matchAll(
    /^((?:\/\/\/.*\n)*)((?:#\[.*\]\n)*)pub (struct|enum) (\w+)(?:<'a>)? \{(?:\}|\n([\s\S]*?)^\})/gm,
  );
  return [...found]
    .filter(([, , attributes = '']) => /derive\([^)]*(Des|S)erialize/.test(attributes))
    .map(([, doc = '', attributes = '', kind, name = '', body = '']) => ({
      doc,
      attributes,
      name,
      ...(kind === 'struct' ? { fields: fieldsOf(body) } : { variants: variantsOf(body) }),
    }));
}

function fieldsOf(body: string): Field[] {
  const found = body.matchAll(/((?:^\s*\/\/\/.*\n)*)((?:^\s*#\[.*\]\n)*)^\s*pub (\w+): (.+),$/gm);
  const fields = [...found].map(([, doc = '', attributes = '', name = '', type = '']) => ({
    doc,
    attributes,
    name,
    type,
  }));
  // An attribute that is not seen would make a type that is wrong.
  const seen = fields
    .map(field => field.attributes)
    .join('')
    .split('#[').length;
  if (seen !== body.split('#[').length || fields.length !== body.split(/^\s*pub /m).length - 1)
    throw new Error(`not all of these fields are understood:\n${body}`);
  return fields;
}

function variantsOf(body: string): Variant[] {
  const found = body.matchAll(/((?:^\s*(?:#\[|\/\/\/).*\n)*)^ {4}(\w+)(?:\(([^)]+)\)| \{ (.+) \})?,$/gm);
  return [...found].map(([, attributes = '', name = '', holds, fields]) => ({
    attributes,
    name,
    holds,
    fields: fields?.split(/, (?=\w+:)/).map(each => {
      const [field = '', type = ''] = each.split(': ');
      return { doc: '', attributes: '', name: field, type };
    }),
  }));
}

// -------------------------------------------------------------- writing TypeScript

function emit(shape: Shape, writer: Writer, wire?: string): string {
  const doc = comment(shape.doc, '');
  const name = renamed(shape.name);
  if (shape.variants) return emitEnum(shape, shape.variants, doc, name, writer);
  const fields = shape.fields ?? [];
  const flat = fields.filter(isFlat).map(field => flattened(field.type));
  const lines = fields.filter(field => !isFlat(field)).map(field => emitField(field, writer));
  const tag = wire === undefined ? [] : [`  type: '${wire}';`];
  const parents = flat.length > 0 ? ` extends ${flat.join(', ')}` : '';
  const body = [...tag, ...lines];
  return body.length > 0
    ? `${doc}export interface ${name}${parents} {\n${body.join('\n')}\n}`
    : `${doc}export type ${name} = Record<never, never>;`;
}

function emitEnum(shape: Shape, variants: Variant[], doc: string, name: string, writer: Writer): string {
  if (shape.attributes.includes('untagged')) {
    const bodies = variants.map(each =>
      each.fields ? `{ ${inline(each.fields, writer)} }` : typeOf(each.holds ?? ''),
    );
    // Which one it is shows by what is there: so everything may be absent.
    const isOneOf = variants.every(each => each.fields);
    return isOneOf
      ? `${doc}export interface ${name} extends Partial<${bodies.join(' & ')}> {}`
      : union(name, bodies, doc);
  }
  const members = variants.map(each => {
    if (each.attributes.includes('serde(other)')) return UNKNOWN;
    const label = snake(each.name);
    return each.holds === undefined ? `'${label}'` : `{ ${label}: ${typeOf(each.holds)} }`;
  });
  return union(name, members, doc);
}

const inline = (fields: Field[], writer: Writer): string =>
  fields.map(field => emitField(field, writer).trim().replace(/;$/, '')).join('; ');

function emitField(field: Field, writer: Writer): string {
  const option = /^Option<(.+)>$/.exec(field.type)?.[1];
  const isSkipped = field.attributes.includes('skip_serializing_if');
  const isOptional = isSkipped || (writer === 'client' && field.attributes.includes('default'));
  const type = typeOf(option ?? field.type) + (option !== undefined && !isSkipped ? ' | null' : '');
  return `${comment(field.doc, '  ')}  ${field.name}${isOptional ? '?' : ''}: ${type};`;
}

const isFlat = (field: Field): boolean => field.attributes.includes('flatten');

/** What is flattened as an option is there whole or not at all; to a reader each of its fields may be absent. */
function flattened(type: string): string {
  const option = /^Option<(?:Box<)?(\w+).*$/.exec(type)?.[1];
  return option === undefined ? typeOf(type) : `Partial<${renamed(option)}>`;
}

function typeOf(rust: string): string {
  const outer = /^(?:[\w:]+::)?(\w+)<(.+)>$/.exec(rust);
  const [, name = rust, inner = ''] = outer ?? [];
  if (name === 'Vec') return `${typeOf(inner)}[]`;
  if (name === 'Box') return typeOf(inner);
  if (name === 'Option') return `${typeOf(inner)} | null`;
  if (name === 'Cow') return typeOf(inner.replace("'a, ", ''));
  if (name === 'Map') return 'Record<string, unknown>';
  if (name === 'BTreeMap') {
    const [key = '', value = ''] = inner.split(', ');
    return `Record<${typeOf(key)}, ${typeOf(value)}>`;
  }
  if (outer && inner !== "'a") throw new Error(`the Rust type ${rust} is not known here`);
  if (NUMBERS.has(name)) return 'number';
  if (PLAIN[name]) return PLAIN[name];
  if (!/^[A-Z]\w+$/.test(name)) throw new Error(`the Rust type ${rust} is not known here`);
  return renamed(name);
}

function comment(doc: string, indent: string): string {
  const text = doc
    .split('\n')
    .map(line => line.replace(/^\s*\/\/\/ ?/, '').trim())
    .filter(line => line !== '')
    .join(' ');
  return text === '' ? '' : `${indent}/** ${text} */\n`;
}

const snake = (name: string): string => name.replace(/(?<!^)([A-Z])/g, '_$1').toLowerCase();
