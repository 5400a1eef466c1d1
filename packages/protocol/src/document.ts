/**
 * PROTOCOL.md, printed from the tables.
 *
 *   node packages/protocol/src/document.ts --write     writes PROTOCOL.md
 *
 * A test compares the file with what this prints, so the document cannot go stale.
 */
import { writeFileSync } from 'node:fs';
import { ERRORS } from './errors.ts';
import { FRAMES } from './frames.ts';
import * as limits from './limits.ts';
import { MESSAGES } from './messages.ts';
import type { Field, Fields } from './schema.ts';

function describe(field: Field): string {
  switch (field.type) {
    case 'uint':
      return field.max === Number.MAX_SAFE_INTEGER ? 'uint53' : `uint <= ${field.max}`;
    case 'number':
      return 'float64';
    case 'bool':
      return 'bool';
    case 'text':
      return `${field.isProse ? 'prose' : 'text'} <= ${field.charsMax}`;
    case 'bytes':
      return `bytes <= ${field.bytesMax}`;
    case 'oneOf':
      return field.values.join(' \\| ');
    case 'list':
      return `list <= ${field.countMax} of ${describe(field.of)}`;
    case 'record':
      return `{ ${list(field.fields)} }`;
    case 'optional':
      return `${describe(field.of)}, optional`;
  }
}

function list(fields: Fields): string {
  return Object.entries(fields)
    .map(([name, field]) => `\`${name}\` ${describe(field)}`)
    .join('; ');
}

function messages(on: string): string[] {
  return Object.entries(MESSAGES)
    .filter(([, row]) => row.on === on)
    .map(
      ([name, row]) =>
        `| ${row.tag} | \`${name}\` | ${row.from} | ${list(row.fields as Fields) || '-'} | ${row.what} |`,
    );
}

const MESSAGE_HEAD = [
  '| tag | message | sent by | fields in order | what |',
  '|---|---|---|---|---|',
];

/** The whole document as text. */
export function protocolDocument(): string {
  const frames = Object.entries(FRAMES).map(
    ([name, row]) =>
      `| ${row.opcode} | \`${name}\` | ${row.from} | ${row.on} | ${row.runsMin}..${row.runsMax} | ${row.pagesMax} | ${row.carriesPages ? 'yes' : 'no'} | ${row.what} |`,
  );
  const errors = Object.entries(ERRORS).map(
    ([code, row]) => `| \`${code}\` | ${row.fault} | ${row.exit} | ${row.hint ?? '-'} |`,
  );
  const numbers = Object.entries(limits)
    .filter(([, value]) => typeof value === 'number')
    .map(([name, value]) => `| \`${name}\` | ${(value as number).toLocaleString('en')} |`);
  return `${[
    '# Protocol',
    '',
    'Generated from the tables in `packages/protocol/src` by `npm run documents`; do not edit.',
    '',
    `Version ${limits.PROTOCOL_VERSION}. Control messages are MessagePack lists \`[tag, field, ...]\`, one a binary`,
    'WebSocket message; a record is a list of its fields, an absent optional field is nil. Tag 0 and opcode 0 are',
    'never valid. Prose is text for people, cut by its sender where it is too long. A message that breaks a limit, or comes on the wrong connection or from the wrong end, is refused',
    'with a `wire.*` error and the connection is closed.',
    '',
    '## Agent and coordinator',
    '',
    'Dialled by the agent: `/v1/agents` at the coordinator.',
    '',
    ...MESSAGE_HEAD,
    ...messages('agent'),
    '',
    '## Source and target',
    '',
    'Dialled by the source: `/v1/peer` at the target.',
    '',
    ...MESSAGE_HEAD,
    ...messages('peer'),
    '',
    '## Console',
    '',
    "Dialled by the client: `/v1/console` at the owner's agent.",
    '',
    ...MESSAGE_HEAD,
    ...messages('console'),
    '',
    '## Page frames',
    '',
    'Dialled by the target at the ports the source announces in `offer`; one frame a binary WebSocket message,',
    'unmasked from the source. The header is 32 bytes, little-endian: opcode u8, flags u8, runs u16, round u32,',
    'key u32, firstPage u32, pages u32, payloadBytes u32, sequence u64. Then `runs` times {first page u32, pages',
    'u32}, then the bytes of the pages.',
    '',
    '| opcode | frame | sent by | channel | runs | pages at most | page bytes | what |',
    '|---|---|---|---|---|---|---|---|',
    ...frames,
    '',
    '## Errors',
    '',
    '| code | fault | exit | hint |',
    '|---|---|---|---|',
    ...errors,
    '',
    '## Limits',
    '',
    'The reasons stand beside them in `limits.ts`.',
    '',
    '| limit | value |',
    '|---|---|',
    ...numbers,
  ].join('\n')}\n`;
}

if (process.argv.includes('--write')) {
  writeFileSync(new URL('../../../PROTOCOL.md', import.meta.url), protocolDocument());
}
