import type Docker from 'dockerode';

// An engine passes over what it does not know of. What a container is asked to be and an older engine would not make it, without a word, is refused.

interface LateField {
  readonly name: string;
  /** The second number of the API's version that has it first. */
  readonly since: number;
  readonly asked: (config: Docker.ContainerCreateOptions) => boolean;
}

type EngineMount = Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>;

const inMounts =
  (options: string, field: string): LateField['asked'] =>
  ({ HostConfig }) =>
    ((HostConfig?.Mounts ?? []) as unknown as EngineMount[]).some((mount) => {
      const value = mount[options]?.[field];
      return Array.isArray(value) ? value.length > 0 : Boolean(value);
    });

/** Of those that API 1.41 has not; left out is what its engines refuse themselves, or do as if they knew it. */
const lateFields: readonly LateField[] = [
  {
    name: 'Healthcheck.StartInterval',
    since: 44,
    asked: ({ Healthcheck }) => Boolean((Healthcheck as { StartInterval?: number } | undefined)?.StartInterval),
  },
  {
    name: 'BindOptions.ReadOnlyForceRecursive of a mount',
    since: 44,
    asked: inMounts('BindOptions', 'ReadOnlyForceRecursive'),
  },
  { name: 'VolumeOptions.Subpath of a mount', since: 45, asked: inMounts('VolumeOptions', 'Subpath') },
  { name: 'TmpfsOptions.Options of a mount', since: 46, asked: inMounts('TmpfsOptions', 'Options') },
];

export const lateFieldsOf = (config: Docker.ContainerCreateOptions): readonly LateField[] =>
  lateFields.filter(({ asked }) => asked(config));

/** The part of the engine's `/version` that counts here. */
export interface EngineVersion {
  readonly Version: string;
  readonly ApiVersion: string;
  readonly Components?: readonly { readonly Name: string }[] | null;
}

/** Why the engine would not do what the fields ask for; undefined when it would, and for engines other than Docker's, whose versions say something else. */
export function unknownTo(engine: EngineVersion, fields: readonly LateField[]): string | undefined {
  if (!engine.Components?.some(({ Name }) => Name === 'Engine')) return undefined;
  const minor = Number(engine.ApiVersion.split('.')[1]);
  const unknown = fields.find(({ since }) => minor < since);
  return (
    unknown &&
    `the engine of this node (${engine.Version}, API ${engine.ApiVersion}) does not know ${unknown.name}, which came with API 1.${unknown.since}: upgrade it, or leave the field out`
  );
}
