import { ClusterError } from '../kit/errors.ts';
import { formatIp, formatIpRange, type IpRange, isWithinRange, parseIp, parseIpRange } from './ip.ts';
import { checkReservedLabels } from './labels.ts';
import { localDriverOf, localSpec } from './local-network-spec.ts';
import { ingressNetwork, isPredefinedNetwork, mtuOption, vxlanIdOption } from './networks.ts';
import type { Network } from './objects.ts';
import type { NetworkCreateRequest } from './specs.ts';
import { checkName } from './validate.ts';
import { lastVni } from './vxlan-ids.ts';

// What `POST /networks/create` asks for becomes a network's spec, or is refused.

const invalid = (message: string) => new ClusterError('invalid-argument', message);
const notYet = (what: string) => new ClusterError('unimplemented', `${what} not supported yet`);

type IpamConfig = NonNullable<NonNullable<Network['Spec']['IPAMOptions']>['Configs']>[number];

/** Checks a normalised request. Throws ClusterError; changes nothing. */
export function completeNetworkSpec(request: NetworkCreateRequest): Network['Spec'] {
  const name = request.Name ?? '';
  if (name === '') throw invalid('rpc error: code = InvalidArgument desc = meta: name must be provided');
  if (isPredefinedNetwork(name) || name === 'default') {
    throw new ClusterError('permission-denied', `operation is not permitted on predefined ${name} network`);
  }
  if (name === ingressNetwork) {
    throw new ClusterError(
      'already-exists',
      `network with name ${name} already exists: it is the cluster's own, by which ports are published; choose another name`,
    );
  }
  checkName(name);
  const local = localDriverOf(request);
  if (local === undefined) checkOverlay(request);
  if (request.EnableIPv4 === false) throw notYet('networks without IPv4 are');
  const labels = request.Labels ?? {};
  checkReservedLabels('network', labels);
  const configs = checkIpam(request);
  return {
    Name: name,
    Labels: labels,
    ...(request.EnableIPv6 && { IPv6Enabled: true }),
    ...(request.Internal && { Internal: true }),
    ...(request.Attachable && { Attachable: true }),
    ...(local === undefined ? overlaySpec(request.Options ?? {}, configs) : localSpec(request, local, configs)),
    Scope: 'swarm',
  };
}

const overlaySpec = (options: Readonly<Record<string, string>>, configs: IpamConfig[]) => ({
  DriverConfiguration: { Name: 'overlay', ...(Object.keys(options).length > 0 && { Options: options }) },
  IPAMOptions: { Driver: { Name: 'default' }, ...(configs.length > 0 && { Configs: configs }) },
});

function checkOverlay(request: NetworkCreateRequest): void {
  if (request.ConfigFrom?.Network) throw invalid("a network of the driver 'overlay' depends on no config-only network");
  if (request.Scope && request.Scope !== 'swarm') {
    throw invalid(`an overlay network's scope is swarm, not '${request.Scope}'`);
  }
  checkOptions(request);
}

/** Of an IPv4 packet (RFC 791, 3.2), of IPv6 (RFC 8200, 5), and the most that a device takes. */
const [leastMtu, leastMtu6, mostMtu] = [68, 1_280, 65_535];

function checkOptions({ Options: options = {}, EnableIPv6: enables6, IPAM: ipam }: NetworkCreateRequest): void {
  const has6 = enables6 || ipam?.Config?.some(({ Subnet: subnet }) => subnet?.includes(':'));
  for (const [key, value] of Object.entries(options ?? {})) {
    if (key === vxlanIdOption) {
      if (!/^[1-9]\d{0,7}$/.test(value) || Number(value) > lastVni) {
        throw invalid(`option ${key}: '${value}' is not a number from 1 to ${lastVni}`);
      }
    } else if (key === mtuOption) {
      const least = has6 ? leastMtu6 : leastMtu;
      if (!/^[1-9]\d{0,4}$/.test(value) || Number(value) < least || Number(value) > mostMtu) {
        throw invalid(`option ${key}: '${value}' is not a number of bytes from ${least} to ${mostMtu}`);
      }
    } else if (key === 'encrypted') {
      if (!['', 'true', 'false'].includes(value)) {
        throw invalid(`option encrypted: '${value}' is neither true nor false; the key alone means true`);
      }
    } else {
      throw invalid(`unknown option '${key}' of the driver overlay; known: encrypted, ${mtuOption}, ${vxlanIdOption}`);
    }
  }
}

function checkIpam(request: NetworkCreateRequest): IpamConfig[] {
  const { Driver: driver, Options: options, Config: configs = [] } = request.IPAM ?? {};
  if (driver && driver !== 'default') throw notYet(`the IPAM driver '${driver}' is`);
  if (Object.keys(options ?? {}).length > 0) throw notYet('IPAM options are');
  const checked = configs
    .map((config) => checkConfig(config, request.EnableIPv6 ?? false))
    .filter(({ Subnet }) => Subnet !== undefined);
  for (const [i, one] of checked.entries()) {
    const range = parseIpRange(one.Subnet ?? '');
    for (const other of checked.slice(0, i)) {
      const before = parseIpRange(other.Subnet ?? '');
      if (range && before && (isWithinRange(range, before) || isWithinRange(before, range))) {
        throw invalid(`subnets ${other.Subnet} and ${one.Subnet} overlap`);
      }
    }
  }
  return checked;
}

type RequestConfig = NonNullable<NonNullable<NetworkCreateRequest['IPAM']>['Config']>[number];

function checkConfig(config: RequestConfig, ipv6: boolean): IpamConfig {
  const { AuxiliaryAddresses: others = {} } = config;
  if (!config.Subnet) {
    if (config.Gateway || config.IPRange) throw invalid('a gateway or an IP range needs its subnet');
    if (Object.keys(others).length > 0) throw invalid('auxiliary addresses need their subnet');
    return {};
  }
  const subnet = canonical('subnet', config.Subnet);
  const most = subnet.family === 4 ? 29 : 120;
  if (subnet.prefix > most || subnet.prefix < 8) {
    throw invalid(`subnet ${config.Subnet}: the prefix must be from 8 to ${most}`);
  }
  if (subnet.family === 6 && !ipv6) throw invalid(`subnet ${config.Subnet} is IPv6, and the network has no IPv6`);
  const gateway = config.Gateway ? hostIn(subnet, 'gateway', config.Gateway) : firstOf(subnet);
  checkAuxiliary(others, subnet, gateway);
  if (config.IPRange && !isWithinRange(canonical('IP range', config.IPRange), subnet)) {
    throw invalid(`IP range ${config.IPRange} does not lie in the subnet ${formatIpRange(subnet)}`);
  }
  // As they were written: clients compare what they asked for with what is shown.
  return {
    Subnet: config.Subnet,
    ...(config.IPRange && { IPRange: config.IPRange }),
    ...(config.Gateway && { Gateway: config.Gateway }),
    ...(Object.keys(others).length > 0 && { AuxiliaryAddresses: others }),
  };
}

function checkAuxiliary(others: Readonly<Record<string, string>>, subnet: IpRange, gateway: string): void {
  const owners = new Map([[gateway, 'the gateway']]);
  for (const [name, text] of Object.entries(others)) {
    const address = hostIn(subnet, `auxiliary address ${name}:`, text);
    const owner = owners.get(address);
    if (owner !== undefined) throw invalid(`auxiliary address ${name}: ${text} is that of ${owner}`);
    owners.set(address, name);
  }
}

/** The gateway, unless another is asked for. */
const firstOf = ({ family, first }: IpRange): string => formatIp({ family, value: first + 1n });

/** `what` begins the message. */
function hostIn(subnet: IpRange, what: string, text: string): string {
  const ip = parseIp(text);
  const range = ip && parseIpRange(text);
  const edge = ip?.value === subnet.first || (subnet.family === 4 && ip?.value === subnet.last);
  if (!ip || !range || edge || !isWithinRange(range, subnet)) {
    throw invalid(`${what} ${text} is not an address of the subnet ${formatIpRange(subnet)}`);
  }
  return formatIp(ip);
}

function canonical(what: string, text: string) {
  const range = parseIpRange(text);
  if (!range || !text.includes('/')) throw invalid(`invalid ${what} ${text}: expected one such as 10.1.0.0/16`);
  if (parseIp(text.split('/')[0] ?? '')?.value !== range.first) {
    throw invalid(`invalid ${what} ${text}: it should be ${formatIpRange(range)}`);
  }
  return range;
}
