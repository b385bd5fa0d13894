import { type Static, Type } from '@sinclair/typebox';
import { ClusterError } from '../kit/errors.ts';
import { checkReservedLabels } from './labels.ts';
import type { Payload } from './objects.ts';
import { Driver } from './specs.ts';

// Secrets and configs, which are payloads: content with a name that tasks find in files. What `POST /secrets/create` asks for becomes a spec,
// or is refused in Docker's words.

export type PayloadKind = 'secret' | 'config';
export const payloadTables = { secret: 'secrets', config: 'configs' } as const satisfies Record<PayloadKind, string>;

const opt = Type.Optional;

export const PayloadSpec = Type.Object({
  Name: opt(Type.String()),
  Labels: opt(Type.Record(Type.String(), Type.String())),
  Data: opt(Type.String()),
  Driver: opt(Driver),
  Templating: opt(Driver),
});
export type PayloadSpec = Static<typeof PayloadSpec>;

/** The one language of templates. */
export const templateDriver = 'golang';

/** Fewer bytes than these. */
const limits = { secret: 512_000, config: 1_024_000 } as const;

const invalid = (message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);

/** Checks a normalised request and returns what is stored. Throws ClusterError, which shows nothing of the data. */
export function completePayloadSpec(kind: PayloadKind, given: PayloadSpec): Payload['Spec'] {
  const data = decodeBase64(given.Data ?? '');
  const name = given.Name ?? '';
  checkPayloadName(name);
  const labels = given.Labels ?? {};
  checkReservedLabels(kind, labels);
  checkVersionLabel(name, labels);
  // A config has none: Docker passes that over as any key that it does not know.
  if (given.Driver && kind === 'secret') {
    if (!given.Driver.Name) throw invalid('secret driver must have a name');
    throw new ClusterError('unimplemented', 'secret drivers are not supported yet');
  }
  if (data.length === 0 || data.length >= limits[kind]) {
    throw invalid(`${kind} data must be larger than 0 and less than ${limits[kind]} bytes`);
  }
  checkTemplating(given.Templating);
  return {
    Name: name,
    Labels: labels,
    Data: data.toString('base64'),
    ...(given.Templating?.Name && { Templating: given.Templating }),
  };
}

function checkPayloadName(name: string): void {
  if (name === '') throw invalid('name must be provided');
  if (name.length > 64 || !/^[a-zA-Z0-9](?:[a-zA-Z0-9\-_.]*[a-zA-Z0-9])?$/.test(name)) {
    throw invalid(
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
    );
  }
}

function checkTemplating(templating: Driver | undefined): void {
  if (!templating) return;
  if ((templating.Name || templateDriver) !== templateDriver) {
    throw invalid(`unknown template driver '${templating.Name}'; known: ${templateDriver}`);
  }
  const [option] = Object.keys(templating.Options ?? {});
  if (option !== undefined) throw invalid(`unknown option '${option}' of the template driver ${templateDriver}`);
}

/** Strictly, as Docker's server reads it: line ends are passed over, anything else is refused. */
export function decodeBase64(text: string): Buffer {
  const bare = text.replace(/[\r\n]/g, '');
  if (bare.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(bare)) {
    const at = text.search(/[^A-Za-z0-9+/\r\n]/);
    const where = at < 0 ? text.length : at;
    throw new ClusterError('invalid-argument', `invalid JSON: illegal base64 data at input byte ${where}`);
  }
  return Buffer.from(bare, 'base64');
}

// --- versions ---

/** Label of a payload that follows another: the name of the first of them. */
export const versionOfLabel = 'swarmctl.version.of';

/** Which name the versions of a payload share, and the number of this one, from 1. */
export interface Version {
  readonly base: string;
  readonly number: number;
}

type Named = { readonly Name: string; readonly Labels: Readonly<Record<string, string>> };

/** `pass` is the first version of `pass`; `pass.v2` with the label is the second. */
export function versionOf({ Name, Labels }: Named): Version {
  const base = Labels[versionOfLabel];
  const number = base === undefined ? undefined : numberIn(Name, base);
  return base === undefined || number === undefined ? { base: Name, number: 1 } : { base, number };
}

export const versionName = ({ base, number }: Version): string => `${base}.v${number}`;

/** All versions of what has that name, the oldest first. */
export const versionsOf = <T extends { readonly Spec: Named }>(all: readonly T[], base: string): T[] =>
  all
    .filter(({ Spec }) => versionOf(Spec).base === base)
    .sort((a, b) => versionOf(a.Spec).number - versionOf(b.Spec).number);

/** The one that a name stands for where nobody says which. */
export const newestVersion = <T extends { readonly Spec: Named }>(all: readonly T[], base: string): T | undefined =>
  versionsOf(all, base).at(-1);

function numberIn(name: string, base: string): number | undefined {
  const digits = name.startsWith(`${base}.v`) ? name.slice(base.length + 2) : '';
  return /^[1-9]\d{0,8}$/.test(digits) ? Number(digits) : undefined;
}

function checkVersionLabel(name: string, labels: Readonly<Record<string, string>>): void {
  const base = labels[versionOfLabel];
  if (base === undefined || (numberIn(name, base) ?? 0) > 1) return;
  throw new ClusterError(
    'invalid-argument',
    `label '${versionOfLabel}': a version of ${base} is called ${base}.v2 or higher, not ${name}`,
    { label: versionOfLabel },
  );
}
