import { type Identity, identitySchema } from '@skein/protocol';
import { decode, encodeTrusted } from './codec.ts';
import { MessageBusError } from './errors.ts';
import { checkPlainData } from './plain-data.ts';
import { isPattern, isSubject } from './subject.ts';

/** What travels in a frame, beside its sender. `call` numbers the caller's requests and streams; the caller is named by
 *  the sender, so the two together are unique. */
export type Envelope =
  | { readonly kind: 'message'; readonly seq: number; readonly data: unknown }
  | { readonly kind: 'request'; readonly call: number; readonly deadlineMs: number; readonly data: unknown }
  | {
      readonly kind: 'open';
      readonly call: number;
      readonly idleMs: number;
      readonly credit: number;
      readonly data: unknown;
    }
  | { readonly kind: 'cancel'; readonly call: number }
  /** How many values the consumer has taken; also its keep-alive. */
  | { readonly kind: 'taken'; readonly call: number; readonly count: number }
  | { readonly kind: 'reply'; readonly call: number; readonly data: unknown }
  | {
      readonly kind: 'error';
      readonly call: number;
      readonly code: string;
      readonly message: string;
      readonly data: unknown;
    }
  | { readonly kind: 'value'; readonly call: number; readonly index: number; readonly data: unknown }
  /** How many values the producer has sent: its keep-alive, which also shows that the last ones were lost. */
  | { readonly kind: 'sent'; readonly call: number; readonly count: number }
  | { readonly kind: 'end'; readonly call: number; readonly count: number }
  | {
      readonly kind: 'lease';
      readonly key: string;
      readonly birthMs: number;
      readonly ttlMs: number;
      readonly data: unknown;
    }
  | { readonly kind: 'left'; readonly key: string; readonly birthMs: number }
  /** Asks the holders of all leases under `prefix` to announce them to the sender's inbox. */
  | { readonly kind: 'who'; readonly prefix: string };

type Kind = Envelope['kind'];
type Check = (field: unknown) => boolean;

const isCount: Check = (field) => typeof field === 'number' && Number.isSafeInteger(field) && field >= 0;
const isDuration: Check = (field) => isCount(field) && (field as number) >= 1 && (field as number) <= DURATION_MS_MAX;
const isCode: Check = (field) => typeof field === 'string' && /^ERR_[A-Z0-9_]{1,96}$/.test(field);
const isMessage: Check = (field) => typeof field === 'string' && field.length <= ERROR_MESSAGE_MAX;
const isKey: Check = (field) => typeof field === 'string' && isSubject(field);
const isPrefix: Check = (field) => typeof field === 'string' && isPattern(field);
const isAnything: Check = () => true;

/** Longest timer that Node can set. */
export const DURATION_MS_MAX = 0x7fff_ffff;
export const ERROR_MESSAGE_MAX = 4000;
export const CREDIT_MAX = 65_536;

const isCredit: Check = (field) => isCount(field) && (field as number) >= 1 && (field as number) <= CREDIT_MAX;

/** Order of the kinds is their number on the wire; order of the fields is their place in the frame, data last. */
const FIELDS: {
  readonly [K in Kind]: { readonly [F in Exclude<keyof Extract<Envelope, { kind: K }>, 'kind'>]: Check };
} = {
  message: { seq: isCount, data: isAnything },
  request: { call: isCount, deadlineMs: isDuration, data: isAnything },
  open: { call: isCount, idleMs: isDuration, credit: isCredit, data: isAnything },
  cancel: { call: isCount },
  taken: { call: isCount, count: isCount },
  reply: { call: isCount, data: isAnything },
  error: { call: isCount, code: isCode, message: isMessage, data: isAnything },
  value: { call: isCount, index: isCount, data: isAnything },
  sent: { call: isCount, count: isCount },
  end: { call: isCount, count: isCount },
  lease: { key: isKey, birthMs: isCount, ttlMs: isDuration, data: isAnything },
  left: { key: isKey, birthMs: isCount },
  who: { prefix: isPrefix },
};
const KINDS = Object.keys(FIELDS) as Kind[];
const KIND_NUMBERS = new Map<Kind, number>(KINDS.map((kind, number) => [kind, number]));
const FIELD_LISTS = KINDS.map((kind) => Object.entries<Check>(FIELDS[kind]));

const VERSION = 1;
const HEAD_FIELDS = 4;

/** Room kept in every frame for all that is not the message. */
export const ENVELOPE_BYTES_MAX = 1024;

/** @throws ERR_NOT_ENCODABLE, and ERR_MESSAGE_TOO_LARGE when the encoded `data` passes `dataBytesMax`. */
export function encodeEnvelope(from: Identity, envelope: Envelope, dataBytesMax: number): Uint8Array {
  if ('data' in envelope) checkPlainData(envelope.data);
  const { kind, ...fields } = envelope;
  const list: Record<string, unknown> = fields;
  const frame = encodeTrusted([
    VERSION,
    KIND_NUMBERS.get(kind),
    from.name,
    from.incarnation,
    ...(FIELD_LISTS[KIND_NUMBERS.get(kind) ?? 0] ?? []).map(([name]) => list[name]),
  ]);
  if (frame.byteLength > dataBytesMax && 'data' in envelope) {
    const bytes = encodeTrusted(envelope.data).byteLength;
    if (bytes > dataBytesMax) {
      throw new MessageBusError('ERR_MESSAGE_TOO_LARGE', `message of ${bytes} bytes; the bus takes ${dataBytesMax}`, {
        details: { bytes, maxPayloadBytes: dataBytesMax },
      });
    }
  }
  return frame;
}

/** @throws ERR_MALFORMED; nothing else, whatever the bytes. */
export function decodeEnvelope(frame: Uint8Array): { readonly from: Identity; readonly envelope: Envelope } {
  const array = decode(frame);
  if (!Array.isArray(array)) throw malformed('no array');
  const [version, kindNumber, name, incarnation, ...values] = array as unknown[];
  if (version !== VERSION) throw malformed(`version ${shown(version)}, expected ${VERSION}`);
  const kind = typeof kindNumber === 'number' ? KINDS[kindNumber] : undefined;
  const fields = FIELD_LISTS[kindNumber as number];
  if (kind === undefined || fields === undefined) throw malformed(`kind ${shown(kindNumber)} is unknown`);
  const from = identitySchema.safeParse({ name, incarnation });
  if (!from.success) throw malformed('no identity of a sender');
  if (values.length !== fields.length) throw malformed(`${kind} with ${array.length - HEAD_FIELDS} fields`);
  const envelope: Record<string, unknown> = { kind };
  for (const [index, [field, check]] of fields.entries()) {
    if (!check(values[index])) throw malformed(`${kind} with a bad ${field}`);
    envelope[field] = values[index];
  }
  return { from: from.data, envelope: envelope as unknown as Envelope };
}

function shown(value: unknown): string {
  return typeof value === 'number' ? String(value) : `a ${typeof value}`;
}

function malformed(reason: string): MessageBusError {
  return new MessageBusError('ERR_MALFORMED', `frame refused: ${reason}`);
}
