import { posix } from 'node:path';
import { parseIp } from '@swarmctl/shared/model';
import { shellWords } from '../service/parse.ts';
import { type Deploy, deploy } from './deploy-shape.ts';
import { device, deviceKey, gpus } from './devices-shape.ts';
import { mount, mountKey, tmpfs } from './mounts-shape.ts';
import { port, portKey, spanOf } from './ports-shape.ts';
import { absentKeys } from './refused-keys.ts';
import {
  anyText,
  expected,
  fieldsOf,
  listOf,
  mapOf,
  type Of,
  parsed,
  type Shape,
  shortened,
  text,
  whole,
  word,
  yesOrNo,
} from './shape.ts';
import { fields, fieldsAt, leaf, list, type Tree, toPlain } from './tree.ts';
import { cpus, duration, fileMode, localPath, pairs, size } from './values.ts';

// Every key of a service: what it takes, what its short form means, how files are merged in it.

/** A command line, or its words; a later file's is not added to it. */
const commandLine: Shape<readonly string[]> = {
  ...listOf(text, { isOne: true }),
  read: (tree, spot) => {
    const words = listOf(text);
    if (tree.kind === 'list') return words.read(tree, spot);
    if (tree.kind !== 'leaf') return expected(tree, spot, 'a string or a list');
    try {
      return list(
        tree.at,
        shellWords('', tree.text).map((one) => leaf(tree.at, one)),
        tree.tag,
      );
    } catch {
      return expected(tree, spot, 'a command line whose quotes are closed');
    }
  },
};

const healthTest: Shape<readonly string[]> = {
  ...listOf(text, { isOne: true }),
  read: (tree, spot) => {
    if (tree.kind === 'leaf') return list(tree.at, [leaf(tree.at, 'CMD-SHELL'), leaf(tree.at, tree.text)], tree.tag);
    const read = listOf(text).read(tree, spot);
    const first = read?.kind === 'list' ? read.items[0] : undefined;
    if (first?.kind === 'leaf' && ['NONE', 'CMD', 'CMD-SHELL'].includes(first.text)) return read;
    return (
      read && expected(first ?? tree, spot, 'a list that begins with CMD, CMD-SHELL or NONE, or a string for the shell')
    );
  },
};

/** A list of names, or a map from them to more; canonical is the map. */
const named = <T>(member: Shape<T>, more: Readonly<Record<string, string>> = {}): Shape<Readonly<Record<string, T>>> =>
  shortened(mapOf(member, { empty: (tree) => fields(tree.at, new Map()) }), (tree, spot) => {
    const names = listOf(text).read(tree, spot);
    if (names?.kind !== 'list') return undefined;
    return fields(
      tree.at,
      new Map(names.items.map((one) => [String(toPlain(one)), { key: one.at, value: fieldsAt(one.at, more) }])),
      tree.tag,
    );
  });

const reference = shortened(
  fieldsOf({ source: text, target: text, uid: anyText, gid: anyText, mode: fileMode }),
  (tree) => fieldsAt(tree.at, { source: tree }),
);
export type Reference = Of<typeof reference>;

const referenceKey = (folder: string) => (one: Reference) => posix.resolve(folder, one.target ?? one.source ?? '');

const variablesFile = shortened(fieldsOf({ path: localPath, required: yesOrNo, format: word('raw') }), (tree) =>
  fieldsAt(tree.at, { path: tree }),
);
export type VariablesFile = Of<typeof variablesFile>;

/** `name:address`, `name=address`, or a map from names to one address or some. */
const hosts = shortened(mapOf(listOf(text, { orSingle: true })), (tree, spot) => {
  const given = listOf(text).read(tree, spot);
  if (given?.kind !== 'list') return undefined;
  const found = new Map<string, { key: Tree['at']; value: Tree }>();
  for (const item of given.items) {
    const [, name = '', address = ''] = /^([^:=]+)[:=](.+)$/.exec(String(toPlain(item))) ?? [];
    if (name === '') return expected(item, spot, 'NAME=ADDRESS');
    const before = found.get(name)?.value;
    const all = [...(before?.kind === 'list' ? before.items : []), leaf(item.at, address)];
    found.set(name, { key: item.at, value: list(item.at, all) });
  }
  return fields(tree.at, found, tree.tag);
});

/** What a hosts file can have; `host-gateway` is the engine's own word. */
export const hostAddress = (given: string): string | undefined => {
  const bare = given.replace(/^\[(.*)\]$/, '$1');
  return bare === 'host-gateway' || parseIp(bare) ? bare : undefined;
};

const loggingFields = fieldsOf({ driver: text, options: mapOf(anyText, { empty: ({ at }) => leaf(at, '') }) });

const logging: typeof loggingFields = {
  ...loggingFields,
  // Another driver has other options.
  merge: (base, over) => {
    const driverOf = (tree: Tree) => (tree.kind === 'map' ? tree.entries.get('driver')?.value : undefined);
    const [before, after] = [driverOf(base), driverOf(over)];
    const isSame = !before || !after || toPlain(before) === toPlain(after);
    return isSame ? loggingFields.merge(base, over) : over;
  },
};

const limit = shortened(fieldsOf({ soft: whole(-1), hard: whole(-1) }), (tree) =>
  fieldsAt(tree.at, { soft: tree, hard: tree }),
);

const strings = listOf(text);
const stringOrList = listOf(text, { orSingle: true });

const attachment = fieldsOf({ aliases: strings, ...absentKeys.attachment });

const dependency = fieldsOf({
  condition: word('service_started', 'service_healthy', 'service_completed_successfully'),
  required: yesOrNo,
  ...absentKeys.dependency,
});
export type Condition = NonNullable<Of<typeof dependency>['condition']>;

const serviceKeys = {
  image: text,
  command: commandLine,
  entrypoint: commandLine,
  environment: pairs,
  env_file: listOf(variablesFile, { orSingle: true, keyOf: ({ path }: VariablesFile) => path ?? '' }),
  labels: pairs,
  label_file: listOf(localPath, { orSingle: true }),
  deploy: deploy as Shape<Deploy>,
  scale: whole(),
  depends_on: named(dependency, { condition: 'service_started' }),
  extends: shortened(fieldsOf({ service: text, file: localPath }), (tree) => fieldsAt(tree.at, { service: tree })),
  profiles: strings,
  ports: listOf(port, { keyOf: portKey }),
  expose: listOf(parsed('a port such as 80 or 8000-8002/tcp', (one) => spanOf(one.replace(/\/(tcp|udp|sctp)$/, '')))),
  networks: named(attachment),
  network_mode: text,
  volumes: listOf(mount, { keyOf: mountKey }),
  tmpfs: listOf(tmpfs, { orSingle: true, keyOf: mountKey }),
  secrets: listOf(reference, { keyOf: referenceKey('/run/secrets') }),
  configs: listOf(reference, { keyOf: referenceKey('/') }),
  healthcheck: fieldsOf({
    test: healthTest,
    disable: yesOrNo,
    interval: duration,
    timeout: duration,
    retries: whole(),
    start_period: duration,
    start_interval: duration,
  }),
  logging,
  hostname: text,
  user: text,
  group_add: listOf(anyText),
  working_dir: text,
  read_only: yesOrNo,
  init: yesOrNo,
  tty: yesOrNo,
  stdin_open: yesOrNo,
  stop_signal: text,
  stop_grace_period: duration,
  restart: parsed('no, always, unless-stopped, on-failure or on-failure:3', (one) =>
    /^(no|false|always|unless-stopped|on-failure(:\d+)?)$/.test(one) ? one : undefined,
  ),
  dns: stringOrList,
  dns_search: stringOrList,
  dns_opt: strings,
  extra_hosts: hosts,
  cap_add: strings,
  cap_drop: strings,
  security_opt: strings,
  privileged: yesOrNo,
  devices: listOf(device, { keyOf: deviceKey }),
  gpus,
  ipc: text,
  pid: text,
  cgroup: word('private', 'host'),
  userns_mode: text,
  runtime: text,
  shm_size: size,
  sysctls: pairs,
  ulimits: mapOf(limit),
  platform: text,
  cpus,
  mem_limit: size,
  mem_reservation: size,
  memswap_limit: parsed('a size such as 1g, or -1', (one) => (one === '-1' ? -1 : sizeIn(one))),
  mem_swappiness: whole(0, 100),
  pids_limit: whole(-1),
  oom_score_adj: whole(-1000, 1000),
};

const sizeIn = (one: string) => (/^\d/.test(one) ? one : undefined);

export const service = fieldsOf({ ...serviceKeys, ...absentKeys.service });
export type ComposeService = Of<typeof service>;
