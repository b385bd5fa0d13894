import type { Mount as MountSpec } from '@swarmctl/shared/model';
import type { ComposeFile } from './file-shape.ts';
import { help } from './load.ts';
import type { Mount } from './mounts-shape.ts';
import { declaredAs, isExternal, nameOf, withNamespace } from './names.ts';
import type { Report } from './report.ts';
import type { Path } from './tree.ts';
import { labelsOf, sizeOf } from './values.ts';

// Mounts of services as the API has them, named volumes with what the file says of them.

export interface MountContext {
  readonly stack: string;
  readonly file: ComposeFile;
  readonly report: Report;
}

export function mountSpec(mount: Mount, path: Path, context: MountContext): MountSpec | undefined {
  const { report } = context;
  const { type = 'volume', source, target } = mount;
  if (!target) {
    report.error(path, 'the target is missing: where in the container it is to be');
    return undefined;
  }
  for (const kind of ['bind', 'volume', 'tmpfs', 'image'] as const) {
    if (kind !== type && mount[kind] !== undefined)
      report.error([...path, kind], `it does not fit a mount of type ${type}`);
  }
  const common = {
    Type: type,
    Target: target,
    ...(mount.read_only && { ReadOnly: true }),
    ...(mount.consistency && { Consistency: mount.consistency }),
  };
  switch (type) {
    case 'bind':
      return { ...common, ...(source !== undefined && { Source: source }), ...bindOptions(mount) };
    case 'tmpfs':
      if (source !== undefined) report.error([...path, 'source'], 'a tmpfs has no source');
      return { ...common, ...tmpfsOptions(mount.tmpfs) };
    case 'image': {
      const Subpath = mount.image?.subpath;
      return {
        ...common,
        ...(source && { Source: source }),
        ...(Subpath !== undefined && { ImageOptions: { Subpath } }),
      };
    }
    case 'volume':
      return { ...common, ...volumeOptions(mount, path, context) };
    case 'cluster':
    case 'npipe':
      report.error([...path, 'type'], type === 'npipe' ? 'it is for Windows' : 'cluster volumes are not supported yet');
      return undefined;
    default:
      return type satisfies never;
  }
}

function bindOptions({ bind }: Mount): Pick<MountSpec, 'BindOptions'> {
  const options = {
    ...(bind?.propagation && { Propagation: bind.propagation }),
    ...(bind?.create_host_path && { CreateMountpoint: true }),
    ...(bind?.recursive === 'disabled' && { NonRecursive: true }),
    ...(bind?.recursive === 'writable' && { ReadOnlyNonRecursive: true }),
    ...(bind?.recursive === 'readonly' && { ReadOnlyForceRecursive: true }),
  };
  return Object.keys(options).length > 0 ? { BindOptions: options } : {};
}

export function tmpfsOptions(given: Mount['tmpfs']): Pick<MountSpec, 'TmpfsOptions'> {
  const options = {
    ...(given?.size !== undefined && { SizeBytes: sizeOf(given.size) }),
    ...(given?.mode !== undefined && { Mode: given.mode }),
  };
  return Object.keys(options).length > 0 ? { TmpfsOptions: options } : {};
}

function volumeOptions(
  mount: Mount,
  path: Path,
  { stack, file, report }: MountContext,
): Pick<MountSpec, 'Source' | 'VolumeOptions'> {
  const own = {
    ...(mount.volume?.nocopy && { NoCopy: true }),
    ...(mount.volume?.subpath && { Subpath: mount.volume.subpath }),
    ...(mount.volume?.labels && { Labels: labelsOf(mount.volume.labels) }),
  };
  const ownOptions = Object.keys(own).length > 0 ? { VolumeOptions: own } : {};
  // One that nobody names is each task's own.
  if (mount.source === undefined) return ownOptions;
  const known = file.volumes ?? {};
  const volume = declaredAs(known, mount.source);
  if (!volume) {
    const right = mount.source.includes('/')
      ? '; a folder of the node begins with / or ./'
      : help(mount.source, Object.keys(known));
    report.error(path, `there is no volume ${mount.source} under volumes${right}`);
    return {};
  }
  const Source = nameOf(stack, mount.source, volume);
  if (isExternal(volume)) return { Source, ...ownOptions };
  const { driver, driver_opts: driverOptions } = volume;
  return {
    Source,
    VolumeOptions: {
      ...own,
      Labels: withNamespace({ ...labelsOf(volume.labels), ...own.Labels }, stack),
      ...((driver || driverOptions) && {
        DriverConfig: { ...(driver && { Name: driver }), ...(driverOptions && { Options: driverOptions }) },
      }),
    },
  };
}
