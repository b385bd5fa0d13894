import { labelNamed, type PortConfig, portLabel, portName } from '@swarmctl/shared/model';
import { uint } from '../units.ts';
import {
  container,
  containerLabels,
  dns,
  endpoint,
  labels,
  logOptions,
  placement,
  resources,
  type SpecDraft,
  sysctls,
  template,
} from './draft.ts';
import { attachment, bad, envEntry, mount, pair, preference, published, ulimit } from './parse.ts';
import { withoutNames, withReference } from './payload-flag.ts';

// The flags of `service create` and `service update` that may be given again and again, once: what each is called, what it means, where in the
// spec it goes.

/** A repeatable flag: `--x` at create, `--x-add` and `--x-rm` at update. */
export interface ListFlag {
  readonly name: string;
  readonly alias?: string;
  readonly describe: string;
  /** What `--x-rm` takes. */
  readonly removes: string;
  /** Adds or replaces. */
  readonly add: (spec: SpecDraft, value: string, flag: string) => void;
  readonly remove: (spec: SpecDraft, value: string, flag: string) => void;
}

const entries = (
  name: string,
  describe: string,
  get: (spec: SpecDraft) => Record<string, string>,
  alias?: string,
): ListFlag => ({
  name,
  ...(alias && { alias }),
  describe,
  removes: 'by key',
  add: (spec, value, flag) => {
    const [key, text] = pair(flag, value);
    get(spec)[key] = text;
  },
  remove: (spec, value) => {
    delete get(spec)[value];
  },
});

const words = (
  name: string,
  describe: string,
  get: (spec: SpecDraft) => { list: string[] | undefined; put: (list: string[]) => void },
  options: {
    alias?: string;
    keyOf?: (text: string) => string;
    parse?: (text: string, flag: string) => string | undefined;
    removes?: string;
  } = {},
): ListFlag => {
  const keyOf = options.keyOf ?? ((text) => text);
  const without = (list: readonly string[], key: string) => list.filter((one) => keyOf(one) !== key);
  return {
    name,
    ...(options.alias && { alias: options.alias }),
    describe,
    removes: options.removes ?? 'by value',
    add: (spec, value, flag) => {
      const text = options.parse ? options.parse(value, flag) : value;
      if (text === undefined) return;
      const place = get(spec);
      place.put([...without(place.list ?? [], keyOf(text)), text]);
    },
    remove: (spec, value) => {
      const place = get(spec);
      place.put(without(place.list ?? [], value));
    },
  };
};

const samePort = (a: { TargetPort?: number; Protocol?: string; PublishedPort?: number }, b: typeof a) =>
  a.TargetPort === b.TargetPort &&
  (a.Protocol || 'tcp') === (b.Protocol || 'tcp') &&
  a.PublishedPort === b.PublishedPort;

/** A port that answers on some addresses alone says so by a label: Docker's ports have no field for it. */
function addAddress(spec: SpecDraft, port: PortConfig, address: string): void {
  const key = portLabel('swarmctl.ingress.address', port);
  const known = labels(spec)[key]?.split(',') ?? [];
  labels(spec)[key] = [...known.filter((one) => one !== address), address].join(',');
}

/** Labels of a port that is published no more would be refused. */
function dropPortLabels(spec: SpecDraft, gone: readonly PortConfig[]): void {
  const names = gone.map(portName);
  for (const key of Object.keys(spec.Labels ?? {})) {
    const port = labelNamed(key)?.port;
    if (port && names.includes(portName(port))) delete labels(spec)[key];
  }
}

export const listFlags = (env: Readonly<Record<string, string | undefined>>): readonly ListFlag[] => [
  words(
    'env',
    'Environment variable (NAME=VALUE, or NAME from here)',
    (s) => ({
      list: container(s).Env,
      put: (l) => {
        container(s).Env = l;
      },
    }),
    {
      alias: 'e',
      keyOf: (text) => text.split('=')[0] ?? '',
      parse: (text, flag) => envEntry(flag, text, env),
      removes: 'by name',
    },
  ),
  entries('label', 'Service label', labels, 'l'),
  entries('container-label', 'Container label', containerLabels),
  entries('sysctl', 'Sysctl option', sysctls),
  entries('log-opt', 'Logging driver option', logOptions),
  words('constraint', 'Placement constraint, e.g. node.role==worker', (s) => ({
    list: placement(s).Constraints,
    put: (l) => {
      placement(s).Constraints = l;
    },
  })),
  words('group', 'Supplementary group', (s) => ({
    list: container(s).Groups,
    put: (l) => {
      container(s).Groups = l;
    },
  })),
  words(
    'host',
    'Line of the hosts file (name:ip)',
    (s) => ({
      list: container(s).Hosts,
      put: (l) => {
        container(s).Hosts = l;
      },
    }),
    {
      parse: (text, flag) => {
        const [name, ...address] = text.split(':');
        if (!name || address.length === 0) throw bad(flag, text, 'expected NAME:ADDRESS');
        return `${address.join(':')} ${name}`;
      },
    },
  ),
  words('dns', 'DNS server', (s) => ({
    list: dns(s).Nameservers,
    put: (l) => {
      dns(s).Nameservers = l;
    },
  })),
  words('dns-search', 'DNS search domain', (s) => ({
    list: dns(s).Search,
    put: (l) => {
      dns(s).Search = l;
    },
  })),
  words('dns-option', 'DNS option', (s) => ({
    list: dns(s).Options,
    put: (l) => {
      dns(s).Options = l;
    },
  })),
  words('cap-add', 'Linux capability to add', (s) => ({
    list: container(s).CapabilityAdd,
    put: (l) => {
      container(s).CapabilityAdd = l;
    },
  })),
  words('cap-drop', 'Linux capability to drop', (s) => ({
    list: container(s).CapabilityDrop,
    put: (l) => {
      container(s).CapabilityDrop = l;
    },
  })),
  {
    name: 'publish',
    alias: 'p',
    describe: 'Publish a port: [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL] or published=,target=,protocol=,mode=',
    removes: 'by target port',
    add: (spec, value, flag) => {
      const place = endpoint(spec);
      const { ports, address } = published(flag, value);
      for (const port of ports) {
        place.Ports = [...(place.Ports ?? []).filter((other) => !samePort(other, port)), port];
        if (address !== undefined) addAddress(spec, port, address);
      }
    },
    remove: (spec, value, flag) => {
      const { ports, address } = published(flag, value);
      if (address !== undefined)
        throw bad(flag, value, 'a port goes with all its addresses; expected TARGET[/PROTOCOL]');
      const [target] = ports;
      const place = endpoint(spec);
      const goes = (port: PortConfig) =>
        port.TargetPort === target?.TargetPort && (port.Protocol || 'tcp') === target?.Protocol;
      dropPortLabels(spec, (place.Ports ?? []).filter(goes));
      place.Ports = (place.Ports ?? []).filter((port) => !goes(port));
    },
  },
  {
    name: 'mount',
    describe: 'Mount: type=bind|volume|tmpfs,source=,target=,readonly,…',
    removes: 'by target path',
    add: (spec, value, flag) => {
      const one = mount(flag, value);
      container(spec).Mounts = [
        ...(container(spec).Mounts ?? []).filter((other) => other.Target !== one.Target),
        one as never,
      ];
    },
    remove: (spec, value) => {
      container(spec).Mounts = (container(spec).Mounts ?? []).filter((one) => one.Target !== value);
    },
  },
  {
    name: 'placement-pref',
    describe: 'Spread over a label: spread=node.labels.zone',
    removes: 'by value',
    add: (spec, value, flag) => {
      placement(spec).Preferences = [...(placement(spec).Preferences ?? []), preference(flag, value)];
    },
    remove: (spec, value, flag) => {
      const gone = preference(flag, value).Spread.SpreadDescriptor;
      placement(spec).Preferences = (placement(spec).Preferences ?? []).filter(
        (one) => one.Spread?.SpreadDescriptor !== gone,
      );
    },
  },
  {
    name: 'ulimit',
    describe: 'Ulimit: NAME=SOFT[:HARD]',
    removes: 'by name',
    add: (spec, value, flag) => {
      const one = ulimit(flag, value);
      container(spec).Ulimits = [...(container(spec).Ulimits ?? []).filter((other) => other.Name !== one.Name), one];
    },
    remove: (spec, value) => {
      container(spec).Ulimits = (container(spec).Ulimits ?? []).filter((one) => one.Name !== value);
    },
  },
  {
    name: 'network',
    describe: 'Network to be on: NAME, or name=NAME,alias=NAME[,alias=NAME...]',
    removes: 'by network',
    add: (spec, value, flag) => {
      const { target, aliases } = attachment(flag, value);
      const task = template(spec);
      task.Networks = [
        ...(task.Networks ?? []).filter((one) => one.Target !== target),
        { Target: target, ...(aliases.length > 0 && { Aliases: [...aliases] }) },
      ];
    },
    remove: (spec, value) => {
      const task = template(spec);
      task.Networks = (task.Networks ?? []).filter((one) => one.Target !== value);
    },
  },
  {
    name: 'secret',
    describe: 'Secret to expose: NAME, or source=NAME,target=PATH,uid=,gid=,mode=0444',
    removes: 'by name, all its versions',
    add: (spec, value) => {
      container(spec).Secrets = withReference(container(spec).Secrets, value);
    },
    remove: (spec, value) => {
      container(spec).Secrets = withoutNames(container(spec).Secrets, value);
    },
  },
  {
    name: 'config',
    describe: 'Config to expose: NAME, or source=NAME,target=PATH,uid=,gid=,mode=0444',
    removes: 'by name, all its versions',
    add: (spec, value) => {
      container(spec).Configs = withReference(container(spec).Configs, value);
    },
    remove: (spec, value) => {
      container(spec).Configs = withoutNames(container(spec).Configs, value);
    },
  },
  {
    name: 'generic-resource',
    describe: 'Generic resource to reserve: KIND=COUNT',
    removes: 'by kind',
    add: (spec, value, flag) => {
      const [kind, count] = pair(flag, value);
      const place = resources(spec, 'Reservations') as {
        GenericResources?: { DiscreteResourceSpec?: { Kind: string; Value: number } }[];
      };
      place.GenericResources = [
        ...(place.GenericResources ?? []).filter((one) => one.DiscreteResourceSpec?.Kind !== kind),
        { DiscreteResourceSpec: { Kind: kind, Value: uint(flag, count) } },
      ];
    },
    remove: (spec, value) => {
      const place = resources(spec, 'Reservations') as {
        GenericResources?: { DiscreteResourceSpec?: { Kind: string } }[];
      };
      place.GenericResources = (place.GenericResources ?? []).filter((one) => one.DiscreteResourceSpec?.Kind !== value);
    },
  },
];
