import type { ContainerSpec, Mount, SecretReference } from '@swarmctl/shared/model';
import { capabilities } from './capabilities.ts';
import { environmentOf, labelsOfFiles } from './environment.ts';
import { help, type Project } from './load.ts';
import { mountSpec, tmpfsOptions } from './mount-spec.ts';
import { declaredAs, nameOf, withNamespace } from './names.ts';
import { privileges } from './privileges.ts';
import type { Report } from './report.ts';
import { type ComposeService, hostAddress, type Reference } from './service-shape.ts';
import type { Path } from './tree.ts';
import { durationNs, labelsOf } from './values.ts';

// A service's container as the API has it. Secrets and configs are named; their ids are filled in when they are known.

export interface BuildContext {
  readonly stack: string;
  readonly project: Project;
  readonly report: Report;
  /** A file's content; throws as `readFileSync` does. */
  readonly read: (path: string) => Buffer;
  readonly show: (path: string) => string;
  /** Where paths start that are known as such only now. */
  readonly folder: string;
  readonly home: string;
}

export function containerSpec(key: string, service: ComposeService, context: BuildContext): ContainerSpec {
  const path: Path = ['services', key];
  const { stack } = context;
  const labels = { ...labelsOfFiles(service, path, context), ...labelsOf(service.labels) };
  return defined({
    Image: service.image,
    Labels: withNamespace(labels, stack),
    Command: words(service.entrypoint, [...path, 'entrypoint'], context.report),
    Args: words(service.command, [...path, 'command'], context.report),
    Hostname: service.hostname,
    Env: filled(environmentOf(service, path, context)),
    Dir: service.working_dir,
    User: service.user,
    Groups: service.group_add && [...service.group_add],
    Privileges: privileges(service, path, context),
    Init: service.init,
    StopSignal: service.stop_signal,
    TTY: service.tty || undefined,
    OpenStdin: service.stdin_open || undefined,
    ReadOnly: service.read_only || undefined,
    Mounts: filled(mounts(service, path, context)),
    StopGracePeriod: service.stop_grace_period === undefined ? undefined : durationNs(service.stop_grace_period),
    Healthcheck: healthcheck(service, path, context.report),
    Hosts: filled(hosts(service, path, context.report)),
    DNSConfig: dns(service),
    Secrets: filled(references('secret', service, path, context)),
    Configs: filled(
      references('config', service, path, context).map(({ File, SecretID, SecretName }) =>
        defined({ File, ConfigID: SecretID, ConfigName: SecretName }),
      ),
    ),
    Sysctls: service.sysctls && labelsOf(service.sysctls),
    ...capabilities(service),
    Ulimits: ulimits(service),
    OomScoreAdj: service.oom_score_adj,
  });
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the members that are undefined. */
export const defined = <T extends object>(object: T): Present<T> =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Present<T>;

const filled = <T>(items: readonly T[]): T[] | undefined => (items.length > 0 ? [...items] : undefined);

function words(given: readonly string[] | undefined, path: Path, report: Report): string[] | undefined {
  if (given?.length === 0) report.error(path, "the image's own cannot be taken away: say what to run instead");
  return given && [...given];
}

function mounts(service: ComposeService, path: Path, { stack, project, report }: BuildContext): Mount[] {
  const context = { stack, file: project.file, report };
  const listed = (service.volumes ?? []).flatMap((one, i) => mountSpec(one, [...path, 'volumes', i], context) ?? []);
  const more = (service.tmpfs ?? []).map(({ target = '', read_only: isReadOnly, ...options }) => ({
    ...{ Type: 'tmpfs' as const, Target: target },
    ...(isReadOnly && { ReadOnly: true }),
    ...tmpfsOptions(options),
  }));
  return [...listed, ...more];
}

function healthcheck(service: ComposeService, path: Path, report: Report): ContainerSpec['Healthcheck'] | undefined {
  const { test, disable, ...rest } = service.healthcheck ?? {};
  if (!service.healthcheck) return undefined;
  if (disable) {
    if (test) report.error([...path, 'healthcheck', 'disable'], 'there is a test as well: leave one of them out');
    return { Test: ['NONE'] };
  }
  const time = (value: string | undefined) => (value === undefined ? undefined : durationNs(value));
  return defined({
    Test: test && [...test],
    Interval: time(rest.interval),
    Timeout: time(rest.timeout),
    StartPeriod: time(rest.start_period),
    StartInterval: time(rest.start_interval),
    Retries: rest.retries,
  });
}

/** Lines of the hosts file. */
const hosts = (service: ComposeService, path: Path, report: Report): string[] =>
  Object.entries(service.extra_hosts ?? {}).flatMap(([name, addresses]) =>
    addresses.flatMap((given) => {
      const address = hostAddress(given);
      if (address === undefined) report.error([...path, 'extra_hosts', name], `'${given}' is not an IP address`);
      return address === undefined ? [] : [`${address} ${name}`];
    }),
  );

function dns(service: ComposeService): ContainerSpec['DNSConfig'] | undefined {
  if (!service.dns && !service.dns_search && !service.dns_opt) return undefined;
  return defined({
    Nameservers: service.dns && [...service.dns],
    Search: service.dns_search && [...service.dns_search],
    Options: service.dns_opt && [...service.dns_opt],
  });
}

const ulimits = ({ ulimits: given }: ComposeService): ContainerSpec['Ulimits'] | undefined =>
  given &&
  Object.entries(given)
    .map(([Name, { soft = 0, hard = soft }]) => ({ Name, Soft: soft, Hard: hard }))
    .sort((a, b) => (a.Name < b.Name ? -1 : 1));

/** The id is the name until the real one is known. */
function references(
  kind: 'secret' | 'config',
  service: ComposeService,
  path: Path,
  { stack, project, report }: BuildContext,
): SecretReference[] {
  const table = `${kind}s` as const;
  const known = project.file[table] ?? {};
  const found = (service[table] ?? []).flatMap((reference, i) => {
    const source = reference.source ?? '';
    const declared = declaredAs(known, source);
    if (!declared) {
      const right = help(source, Object.keys(known));
      report.error([...path, table, i], `there is no ${kind} '${source}' under ${table}${right}`);
      return [];
    }
    const name = nameOf(stack, source, declared);
    return [{ File: fileOf(reference, source), SecretID: name, SecretName: name }];
  });
  return found.sort((a, b) => (a.SecretName < b.SecretName ? -1 : a.SecretName > b.SecretName ? 1 : 0));
}

const fileOf = ({ target, uid = '0', gid = '0', mode = 0o444 }: Reference, source: string) => ({
  Name: target ?? source,
  UID: uid,
  GID: gid,
  Mode: mode,
});
