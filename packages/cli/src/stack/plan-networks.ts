import {
  completeNetworkSpec,
  formatIpRange,
  isPredefinedNetwork,
  parseIpRange,
  vxlanIdOption,
} from '@swarmctl/shared/model';
import type { Stack, StackNetwork } from '../compose/stack.ts';
import type { Path } from '../compose/tree.ts';
import { type Current, type IpamConfig, isOf, type ShownNetwork } from './current.ts';
import { differences } from './diff.ts';

// Networks of a stack: those that are yet to be made, and what is wrong with those that are there, since none can be changed.

/** Says what is wrong with a part of the files. */
export type Fail = (path: Path, message: string) => void;

export const taken = (what: string, name: string) =>
  `there is a ${what} ${name} already, which is not of this stack; say external: true to use it, or give another name`;

/** Whether it is to be made. */
export function isNewNetwork(
  { name, request, path }: StackNetwork,
  stack: Stack,
  current: Current,
  fail: Fail,
): boolean {
  const there = current.networks.find((one) => one.Name === name || (!request && one.Id === name));
  if (!request) {
    if (!there)
      fail(path, `there is no network ${name}, which is external; make it by "swarmctl network create ${name}"`);
    else if (there.Scope !== 'swarm' && !isPredefinedNetwork(name)) {
      fail(path, `the network ${name} belongs to one engine: it should have the scope swarm`);
    }
    return false;
  }
  if (!there) return true;
  if (!isOf(there.Labels, stack.name)) fail(path, taken('network', name));
  else {
    const [first] = differences(settingsOf(there, request), wantedSettings(request));
    if (first) {
      const what = `${first.path} is ${shown(first.before)}, not ${shown(first.after)}`;
      fail(
        path,
        `the network ${name} is there with other settings (${what}), and a network cannot be changed; remove the stack first, or give it another name`,
      );
    }
  }
  return false;
}

const shown = (value: unknown): string => (value === undefined ? 'not set' : JSON.stringify(value));

type Request = NonNullable<StackNetwork['request']>;

/** What can be compared: the rest is the cluster's choice. */
const wantedSettings = (request: Request) => {
  const spec = completeNetworkSpec(request);
  return {
    Driver: spec.DriverConfiguration?.Name,
    Options: spec.DriverConfiguration?.Options,
    Internal: spec.Internal ?? false,
    Attachable: spec.Attachable ?? false,
    EnableIPv6: spec.IPv6Enabled ?? false,
    Labels: spec.Labels,
    IPAM: spec.IPAMOptions?.Configs?.map(plain),
  };
};

/** However an address is written. */
const plainText = (text = ''): string => {
  const range = parseIpRange(text);
  return range ? formatIpRange(range) : text;
};

const plain = ({ AuxiliaryAddresses: others, ...config }: IpamConfig): IpamConfig => ({
  ...Object.fromEntries(Object.entries(config).map(([key, text]) => [key, plainText(text)])),
  ...(others && {
    AuxiliaryAddresses: Object.fromEntries(Object.entries(others).map(([name, text]) => [name, plainText(text)])),
  }),
});

function settingsOf(shown: ShownNetwork, request: Request) {
  const asked = completeNetworkSpec(request);
  const { [vxlanIdOption]: number, ...options } = shown.Options ?? {};
  const asksNumber = asked.DriverConfiguration?.Options?.[vxlanIdOption] !== undefined;
  const configs = asked.IPAMOptions?.Configs?.map((config) => {
    const subnet = plainText(config.Subnet);
    const there = shown.IPAM.Config?.map(plain).find(({ Subnet }) => Subnet === subnet);
    return Object.fromEntries(Object.keys(config).map((key) => [key, there?.[key as keyof typeof config]]));
  });
  return {
    Driver: shown.Driver,
    Options: { ...options, ...(asksNumber && { [vxlanIdOption]: number }) },
    Internal: shown.Internal,
    Attachable: shown.Attachable,
    EnableIPv6: shown.EnableIPv6,
    Labels: shown.Labels,
    IPAM: configs,
  };
}
