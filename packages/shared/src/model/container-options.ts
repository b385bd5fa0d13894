import { ClusterError } from '../kit/errors.ts';
import { listed } from './ranges.ts';

// What Swarm's container specs have no word for, since it reaches beyond the container: labels `swarmctl.container.NAME` of a service ask for it, and
// the cluster's label `swarmctl.allow` names what may be asked for, as NAME or as NAME=VALUE. Without it: nothing.

interface ContainerLabel {
  readonly what: string;
  /** Undefined when the value is right, else what would be. */
  readonly check: (value: string) => string | undefined;
  /** What of the value an allowance must name, or name the whole of; absent: the value itself. */
  readonly items?: (value: string) => readonly string[];
}

const among = (...values: string[]) => ({
  check: (value: string) => (values.includes(value) ? undefined : `one of ${values.join(', ')}`),
});
const like = (pattern: RegExp, right: string) => ({
  check: (value: string) => {
    const items = listed(value);
    return items.length > 0 && items.every((item) => pattern.test(item)) ? undefined : right;
  },
});

const path = '/dev(?:/(?!\\.\\.?(?:[/:,]|$))[\\w.+@-]+)+';
const devicePattern = new RegExp(`^(${path})(?::(/[^:,]*))?(?::([rwm]{1,3}))?$`);
const securityPattern =
  /^(no-new-privileges(=(true|false))?|label=(disable|(user|role|type|level):[\w.:-]+)|apparmor=[\w./-]+|seccomp=unconfined|systempaths=unconfined)$/;
const sizePattern = /^([1-9]\d{0,14})([kmgt]?)b?$/i;

const definitions = {
  privileged: {
    what: 'whether containers have all that the node has: true or false (false)',
    ...among('true', 'false'),
  },
  devices: {
    what: 'devices of the node for the containers: HOST[:CONTAINER][:rwm], separated by commas (none)',
    ...like(devicePattern, 'a list of devices such as /dev/snd or /dev/kvm:/dev/kvm:rw'),
    items: (value) => listed(value).flatMap((item) => devicePattern.exec(item)?.[1] ?? []),
  },
  gpus: {
    what: 'GPUs of the node for the containers: all, a number, or device=ID[,ID…] (none)',
    check: (value) =>
      /^(all|[1-9]\d{0,3}|device=[\w:.-]+(,[\w:.-]+)*)$/.test(value) ? undefined : 'all, a number, or device=ID[,ID…]',
  },
  'shm-size': {
    what: 'size of /dev/shm, in bytes or as 256m (64m)',
    check: (value) => (sizePattern.test(value) ? undefined : 'a size such as 256m or 1g'),
  },
  ipc: {
    what: 'whose inter-process communication the containers see: none, private, shareable or host (the engine’s default)',
    ...among('none', 'private', 'shareable', 'host'),
  },
  pid: { what: 'whose processes the containers see, if not their own: host', ...among('host') },
  'security-opt': {
    what: 'security options of the engine, separated by commas; profiles of seccomp go in Privileges.Seccomp (none)',
    ...like(
      securityPattern,
      'a list of no-new-privileges, label=…, apparmor=PROFILE, seccomp=unconfined, systempaths=unconfined',
    ),
    items: listed,
  },
  cgroupns: {
    what: 'whose control groups the containers see: private or host (the engine’s default)',
    ...among('private', 'host'),
  },
  userns: { what: 'whose users the containers’ are, where the engine maps them: host', ...among('host') },
  runtime: {
    what: 'the OCI runtime that the engine runs the containers with (the engine’s default)',
    check: (value) => (/^[\w][\w./-]{0,254}$/.test(value) ? undefined : 'the name of a runtime such as runsc'),
  },
} as const satisfies Readonly<Record<string, ContainerLabel>>;

export type ContainerOptionName = keyof typeof definitions;
export type ContainerLabelName = `swarmctl.container.${ContainerOptionName}`;
export const containerOptionNames = Object.keys(definitions) as ContainerOptionName[];

const labelOf = (name: ContainerOptionName): ContainerLabelName => `swarmctl.container.${name}`;

/** Each with what it means and its check. */
export const containerLabels = Object.fromEntries(
  Object.entries(definitions).map(([name, definition]) => [labelOf(name as ContainerOptionName), definition]),
) as unknown as Readonly<Record<ContainerLabelName, ContainerLabel>>;

type Labels = Readonly<Record<string, string>>;

/** What labels ask for; of labels that were checked. */
export interface ContainerOptions {
  readonly privileged: boolean;
  readonly devices: readonly { readonly host: string; readonly container: string; readonly permissions: string }[];
  readonly gpus?: { readonly count: number } | { readonly ids: readonly string[] };
  readonly shmSizeBytes?: number;
  readonly ipc?: string;
  readonly pid?: string;
  readonly securityOptions: readonly string[];
  readonly cgroupns?: string;
  readonly userns?: string;
  readonly runtime?: string;
}

export function containerOptionsOf(labels: Labels): ContainerOptions {
  const value = (name: ContainerOptionName) => labels[labelOf(name)];
  const gpus = value('gpus');
  const size = sizePattern.exec(value('shm-size') ?? '');
  const texts = (['ipc', 'pid', 'cgroupns', 'userns', 'runtime'] as const).map((name) => [name, value(name)]);
  return {
    privileged: value('privileged') === 'true',
    devices: listed(value('devices') ?? '').flatMap((item) => {
      const [, host = '', second, permissions = 'rwm'] = devicePattern.exec(item) ?? [];
      return host === '' ? [] : { host, container: second || host, permissions };
    }),
    ...(gpus !== undefined && {
      gpus: gpus.startsWith('device=')
        ? { ids: listed(gpus.slice('device='.length)) }
        : { count: gpus === 'all' ? -1 : Number(gpus) },
    }),
    ...(size && {
      shmSizeBytes: Number(size[1]) * 1024 ** ['', 'k', 'm', 'g', 't'].indexOf((size[2] ?? '').toLowerCase()),
    }),
    ...Object.fromEntries(texts.filter(([, text]) => text !== undefined)),
    securityOptions: listed(value('security-opt') ?? ''),
  };
}

/** Undefined when a value of `swarmctl.allow` is right, else what would be. */
export function wrongAllowances(value: string): string | undefined {
  const known = (item: string) => containerOptionNames.some((name) => name === item.split('=')[0]);
  const right = `a list of ${containerOptionNames.join(', ')}, or of such as devices=/dev/snd`;
  return listed(value).every((item) => known(item) && !item.endsWith('=')) ? undefined : right;
}

/** Throws `permission-denied` for the first label that asks for what the cluster does not allow, and says how to allow it. */
export function checkAllowed(labels: Labels, cluster: Labels): void {
  const allowances = listed(cluster['swarmctl.allow'] ?? '');
  for (const name of containerOptionNames) {
    const label = labelOf(name);
    const value = labels[label];
    if (value === undefined || (name === 'privileged' && value === 'false') || allowances.includes(name)) continue;
    const { items = (one) => [one] }: ContainerLabel = definitions[name];
    const may = allowances.filter((one) => one.startsWith(`${name}=`)).map((one) => one.slice(name.length + 1));
    const refused = items(value).find((item) => !may.some((one) => item === one || item.startsWith(`${one}/`)));
    if (refused === undefined) continue;
    const wanted = refused === 'true' || refused.includes(',') ? name : `${name}=${refused}`;
    throw new ClusterError(
      'permission-denied',
      `label '${label}': the cluster does not allow ${wanted}; allow it with 'swarmctl swarm update --allow ${[...allowances, wanted].join()}'`,
      { label },
    );
  }
}
