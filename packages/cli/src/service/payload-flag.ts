import type { ConfigReference, PayloadKind, SecretReference } from '@swarmctl/shared/model';
import { bad, fields } from './parse.ts';

// `--secret` and `--config` of services: what people write, and what goes into the spec once the cluster has said which one is meant.

const known = ['source', 'src', 'target', 'uid', 'gid', 'mode'];

export interface PayloadFlag {
  readonly source: string;
  readonly file: { readonly Name: string; readonly UID: string; readonly GID: string; readonly Mode: number };
}

/** `NAME`, or `source=NAME,target=PATH,uid=1000,gid=1000,mode=0400`. */
export function payloadFlag(flag: string, text: string): PayloadFlag {
  const given = text.includes('=') ? fields(flag, text) : new Map([['source', text]]);
  for (const key of given.keys()) {
    if (!known.includes(key)) throw bad(flag, text, `unknown key '${key}'; known: ${known.join(', ')}`);
  }
  const source = given.get('source') ?? given.get('src') ?? '';
  if (source === '') throw bad(flag, text, 'source=NAME is required');
  const [UID, GID, mode] = [given.get('uid') ?? '0', given.get('gid') ?? '0', given.get('mode') ?? '0444'];
  for (const [key, id] of [
    ['uid', UID],
    ['gid', GID],
  ]) {
    if (!/^\d+$/.test(id ?? '')) throw bad(flag, text, `${key} must be a number, not '${id}'`);
  }
  if (!/^0?[0-7]{1,3}$/.test(mode)) throw bad(flag, text, `mode must be octal, such as 0400, not '${mode}'`);
  return { source, file: { Name: given.get('target') || source, UID, GID, Mode: Number.parseInt(mode, 8) } };
}

/** A resolved flag's value: what stands in the spec. */
export const encodeReference = (
  kind: PayloadKind,
  { ID, Name }: { readonly ID: string; readonly Name: string },
  File: PayloadFlag['file'],
): string =>
  JSON.stringify(
    kind === 'secret' ? { File, SecretID: ID, SecretName: Name } : { File, ConfigID: ID, ConfigName: Name },
  );

/** As the specs have them, with what is there. */
export const withReference = <T extends { readonly File?: { readonly Name?: string } }>(
  list: readonly T[] | undefined,
  encoded: string,
): T[] => {
  const one = JSON.parse(encoded) as T;
  return [...(list ?? []).filter((other) => other.File?.Name !== one.File?.Name), one];
};

/** A resolved flag of removal: the names that go. */
export const encodeNames = (names: readonly string[]): string => JSON.stringify(names);

export const withoutNames = <T extends SecretReference | ConfigReference>(
  list: readonly T[] | undefined,
  encoded: string,
): T[] => {
  const names = JSON.parse(encoded) as string[];
  const nameOf = (one: SecretReference & ConfigReference) => one.SecretName ?? one.ConfigName ?? '';
  return (list ?? []).filter((one) => !names.includes(nameOf(one)));
};
