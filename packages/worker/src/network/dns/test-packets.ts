import { encodeName } from './codec.ts';

// For tests: questions as clients send them, and what answers say.

export function ask(
  name: string,
  type: number,
  { id = 1, payload }: { readonly id?: number; readonly payload?: number } = {},
): Buffer {
  const header = Buffer.from([id >> 8, id & 255, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, payload === undefined ? 0 : 1]);
  const opt = payload === undefined ? [] : [Buffer.from([0, 0, 41, payload >> 8, payload & 255, 0, 0, 0, 0, 0, 0])];
  return Buffer.concat([header, encodeName(name), Buffer.from([0, type, 0, 1]), ...opt]);
}

export interface ReadAnswer {
  readonly id: number;
  readonly rcode: number;
  readonly truncated: boolean;
  readonly name: string;
  readonly edns: boolean;
  readonly records: readonly { readonly type: number; readonly ttl: number; readonly data: string }[];
}

/** Of answers whose records all name their question. */
export function read(answer: Buffer): ReadAnswer {
  const bits = answer.readUInt16BE(2);
  const labels: string[] = [];
  let at = 12;
  while (answer[at]) {
    const end = at + 1 + (answer[at] ?? 0);
    labels.push(answer.toString('latin1', at + 1, end));
    at = end;
  }
  at += 5;
  const records = [];
  for (let i = answer.readUInt16BE(6); i > 0; i--) {
    const size = answer.readUInt16BE(at + 10);
    const data = answer.subarray(at + 12, at + 12 + size).toString('hex');
    records.push({ type: answer.readUInt16BE(at + 2), ttl: answer.readUInt32BE(at + 6), data });
    at += 12 + size;
  }
  const edns = answer.readUInt16BE(10) === 1;
  if (at + (edns ? 11 : 0) !== answer.length) throw new Error('there is something behind the answer');
  return {
    id: answer.readUInt16BE(0),
    rcode: bits & 15,
    truncated: (bits & 0x0200) !== 0,
    name: labels.join('.'),
    edns,
    records,
  };
}

/** The addresses of an answer to A. */
export const addresses = (answer: Buffer): string[] =>
  read(answer).records.map(({ data }) => [...Buffer.from(data, 'hex')].join('.'));
