import type { ConfChange, ConfChangeType, EntryType } from './types.ts';

// Conf changes as entry data. The bytes are those of etcd's protobuf messages, so sizes agree with it: a lone change
// with `auto` transition and node id goes as a v1 ConfChange, anything else as a ConfChangeV2. Empty data is a
// change that leaves a joint configuration: what leaders propose by themselves.

const changeTypes: readonly ConfChangeType[] = ['add-node', 'remove-node', 'update-node', 'add-learner-node'];
const transitions: readonly ConfChange['transition'][] = ['auto', 'joint-implicit', 'joint-explicit'];

/** What a change is proposed as. `v1` asks for the old form, which holds exactly one change. */
export function encodeConfChange(change: ConfChange, v1 = fitsV1(change)): { type: EntryType; data: Uint8Array } {
  for (const { nodeId } of change.changes) {
    if (!Number.isSafeInteger(nodeId) || nodeId < 0) throw new RangeError(`member id ${nodeId} is not below 2^53`);
  }
  const out: number[] = [];
  if (v1) {
    const [only] = change.changes;
    if (!fitsV1(change) || only === undefined) throw new RangeError('a v1 conf change holds exactly one change');
    putVarint(out, 2, changeTypes.indexOf(only.type));
    putVarint(out, 3, only.nodeId);
    putBytes(out, 4, change.context);
    return { type: 'conf-change', data: Uint8Array.from(out) };
  }
  putVarint(out, 1, transitions.indexOf(change.transition));
  for (const single of change.changes) {
    const inner: number[] = [];
    putVarint(inner, 1, changeTypes.indexOf(single.type));
    putVarint(inner, 2, single.nodeId);
    putBytes(out, 2, inner);
  }
  putBytes(out, 3, change.context);
  return { type: 'conf-change-v2', data: Uint8Array.from(out) };
}

const fitsV1 = (change: ConfChange): boolean => change.transition === 'auto' && change.changes.length === 1;

export function decodeConfChange(type: EntryType, data: Uint8Array): ConfChange {
  switch (type) {
    case 'conf-change':
      return decodeV1(data);
    case 'conf-change-v2':
      return decodeV2(data);
    case 'normal':
      throw new TypeError('a normal entry holds no conf change');
    default:
      return type satisfies never;
  }
}

function decodeV1(data: Uint8Array): ConfChange {
  let type = 0;
  let nodeId = 0;
  let context: Uint8Array = new Uint8Array(0);
  for (const [field, value] of fields(data)) {
    if (field === 2) type = asNumber(value);
    else if (field === 3) nodeId = asNumber(value);
    else if (field === 4) context = asBytes(value);
  }
  return { transition: 'auto', changes: [{ type: changeType(type), nodeId }], context };
}

function decodeV2(data: Uint8Array): ConfChange {
  let transition = 0;
  const changes: ConfChange['changes'][number][] = [];
  let context: Uint8Array = new Uint8Array(0);
  for (const [field, value] of fields(data)) {
    if (field === 1) transition = asNumber(value);
    else if (field === 2) changes.push(decodeSingle(asBytes(value)));
    else if (field === 3) context = asBytes(value);
  }
  const name = transitions[transition];
  if (name === undefined) throw new RangeError(`unknown conf change transition ${transition}`);
  return { transition: name, changes, context };
}

function decodeSingle(data: Uint8Array): ConfChange['changes'][number] {
  let type = 0;
  let nodeId = 0;
  for (const [field, value] of fields(data)) {
    if (field === 1) type = asNumber(value);
    else if (field === 2) nodeId = asNumber(value);
  }
  return { type: changeType(type), nodeId };
}

function changeType(value: number): ConfChangeType {
  const name = changeTypes[value];
  if (name === undefined) throw new RangeError(`unknown conf change type ${value}`);
  return name;
}

function putVarint(out: number[], field: number, value: number): void {
  out.push(field << 3);
  pushVarint(out, value);
}

function putBytes(out: number[], field: number, bytes: ArrayLike<number>): void {
  if (bytes.length === 0 && field !== 2) return;
  out.push((field << 3) | 2);
  pushVarint(out, bytes.length);
  for (let i = 0; i < bytes.length; i++) out.push(bytes[i]!);
}

function pushVarint(out: number[], value: number): void {
  while (value >= 0x80) {
    out.push((value % 0x80) | 0x80);
    value = Math.floor(value / 0x80);
  }
  out.push(value);
}

function* fields(data: Uint8Array): Generator<[field: number, value: number | Uint8Array]> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = data[at++];
      if (byte === undefined) throw new RangeError('truncated conf change');
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new RangeError('a number in a conf change is too large');
      if (byte < 0x80) return value;
    }
  };
  while (at < data.length) {
    const tag = varint();
    if ((tag & 7) === 0) {
      yield [tag >>> 3, varint()];
    } else if ((tag & 7) === 2) {
      const length = varint();
      if (at + length > data.length) throw new RangeError('truncated conf change');
      yield [tag >>> 3, data.subarray(at, at + length)];
      at += length;
    } else {
      throw new RangeError(`unexpected wire type ${tag & 7} in a conf change`);
    }
  }
}

function asNumber(value: number | Uint8Array): number {
  if (typeof value !== 'number') throw new RangeError('a conf change field has the wrong kind');
  return value;
}

function asBytes(value: number | Uint8Array): Uint8Array {
  if (typeof value === 'number') throw new RangeError('a conf change field has the wrong kind');
  return value;
}
