import { posix } from 'node:path';
import { ClusterError } from '../kit/errors.ts';
import type { PayloadKind } from './payloads.ts';
import type { ContainerSpec } from './specs.ts';

// How a container's spec names secrets and configs, and the files that they become.

/** A reference to a secret or a config, in one form. */
export interface PayloadReference {
  readonly kind: PayloadKind;
  readonly id: string;
  readonly name: string;
  /** As written: what templates call it. */
  readonly target: string;
  /** Absolute, in the container. */
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

type Reference = NonNullable<ContainerSpec['Configs']>[number];

const defaultMode = 0o444;
const maxId = 2 ** 32 - 2;
const folders = { secret: '/run/secrets', config: '/' } as const;

/** Of a spec that was checked: one that is no file is left out. */
export const payloadReferences = (container: ContainerSpec | undefined): readonly PayloadReference[] => [
  ...(container?.Secrets ?? []).map((one) => reference('secret', one.SecretID, one.SecretName, one.File)),
  ...(container?.Configs ?? []).map((one) => reference('config', one.ConfigID, one.ConfigName, one.File)),
];

function reference(
  kind: PayloadKind,
  id: string | undefined,
  name: string | undefined,
  file: Reference['File'],
): PayloadReference {
  const target = file?.Name ?? '';
  return {
    kind,
    id: id ?? '',
    name: name ?? '',
    target,
    path: posix.resolve(folders[kind], target),
    uid: Number(file?.UID || 0),
    gid: Number(file?.GID || 0),
    mode: file?.Mode ?? defaultMode,
  };
}

const invalid = (message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);

/** Throws ClusterError, in Docker's words where it has any. */
export function checkPayloadReferences(container: ContainerSpec): void {
  for (const one of container.Secrets ?? []) checkForm('secret', one.SecretID, one.SecretName, one);
  for (const one of container.Configs ?? []) checkForm('config', one.ConfigID, one.ConfigName, one);
  const references = payloadReferences(container);
  for (const kind of ['secret', 'config'] as const) checkTargets(references.filter((one) => one.kind === kind));
  const taken = new Set((container.Mounts ?? []).map(({ Target }) => posix.resolve('/', Target ?? '')));
  for (const { path } of references) {
    if (taken.has(path)) throw invalid(`ContainerSpec: duplicate mount point: ${path}`);
    taken.add(path);
  }
}

function checkForm(
  kind: PayloadKind,
  id: string | undefined,
  name: string | undefined,
  { File: file, Runtime: runtime }: Pick<Reference, 'File' | 'Runtime'>,
): void {
  if (kind === 'config' && !file === !runtime) {
    const problem = file ? 'cannot specify both File and Runtime' : 'either File or Runtime should be set';
    throw new ClusterError('invalid-argument', `invalid Config: ${problem}`);
  }
  if (!id || !name) throw invalid(`malformed ${kind} reference`);
  if (runtime) throw new ClusterError('unimplemented', 'configs for the runtime are not supported yet');
  if (!file) throw invalid(`malformed ${kind} reference, no target provided`);
  const target = file.Name ?? '';
  if (target === '' || target.includes('\0')) {
    throw invalid(`malformed file ${kind} reference, invalid target file name provided`);
  }
  if (posix.resolve(folders[kind], target) === posix.resolve(folders[kind]) || target.endsWith('/')) {
    throw invalid(`${kind} reference '${name}': the target '${target}' is a folder, not a file`);
  }
  for (const [field, text] of [
    ['UID', file.UID],
    ['GID', file.GID],
  ] as const) {
    if (text && !(/^\d+$/.test(text) && Number(text) <= maxId)) {
      throw invalid(`${kind} reference '${name}': the ${field} must be a number from 0 to ${maxId}, not '${text}'`);
    }
  }
  if ((file.Mode ?? 0) > 0o777) {
    const octal = (file.Mode ?? 0).toString(8);
    throw invalid(`${kind} reference '${name}': the mode must be from 0 to 0777, not 0${octal}`);
  }
}

function checkTargets(references: readonly PayloadReference[]): void {
  const known = new Map<string, string>();
  for (const { kind, name, target } of references) {
    const other = known.get(target);
    if (other !== undefined) {
      throw invalid(`${kind} references '${other}' and '${name}' have a conflicting target: '${target}'`);
    }
    known.set(target, name);
  }
}
