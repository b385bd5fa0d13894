import { ClusterError } from '@swarmctl/shared/kit';
import { isWithinRange, type NetworkCreateRequest, parseIpRange, runsLow } from '@swarmctl/shared/model';
import { isNotFound } from '../client.ts';
import { renderInspect, renderList } from '../output.ts';
import { apiFilters, explain, forEach, type Shell, shortId } from '../runtime.ts';
import { oneOf } from '../units.ts';
import { type Args, type Command, listOptions } from './types.ts';

// swarmctl network: create, ls, inspect, rm.

/** A network as the API shows it. */
interface ShownNetwork {
  readonly Id: string;
  readonly Name: string;
  readonly Driver: string;
  readonly Scope: string;
  readonly Created: string;
  readonly EnableIPv6: boolean;
  readonly Internal: boolean;
  readonly Attachable: boolean;
  readonly Labels: Readonly<Record<string, string>> | null;
  readonly Status?: {
    readonly IPAM?: { readonly Subnets?: Readonly<Record<string, { IPsInUse: number; DynamicIPsAvailable: number }>> };
  };
}

const wrong = (flag: string, value: string, right: string) =>
  new ClusterError('invalid-argument', `invalid argument ${JSON.stringify(value)} for "--${flag}": ${right}`);

/** `KEY=VALUE`, or a key alone. */
function pairs(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const [key = '', value = ''] = text.split(/=(.*)/s, 2);
      return [key.trim(), value];
    }),
  );
}

type Config = { Subnet: string; Gateway?: string; IPRange?: string; AuxiliaryAddresses?: Record<string, string> };

/** Gateways, ranges and auxiliary addresses go to the subnet that they lie in, as in Docker. */
function configsOf(args: Args): Config[] {
  const configs = args.list('subnet').map((Subnet): Config => {
    if (!parseIpRange(Subnet)) throw wrong('subnet', Subnet, 'expected a subnet such as 10.1.0.0/16');
    return { Subnet };
  });
  const around = (flag: string, given: string, value: string, expected: string) => {
    const range = parseIpRange(value);
    if (!range) throw wrong(flag, given, expected);
    const config = configs.find(({ Subnet }) => {
      const subnet = parseIpRange(Subnet);
      return subnet !== undefined && isWithinRange(range, subnet);
    });
    if (!config) throw wrong(flag, given, 'it lies in no --subnet');
    return config;
  };
  const put = (flag: 'gateway' | 'ip-range', field: 'Gateway' | 'IPRange', expected: string) => {
    for (const value of args.list(flag)) {
      const config = around(flag, value, value, expected);
      if (config[field]) throw wrong(flag, value, `the subnet ${config.Subnet} has ${config[field]} already`);
      config[field] = value;
    }
  };
  put('gateway', 'Gateway', 'expected an address');
  put('ip-range', 'IPRange', 'expected a range such as 10.1.2.0/24');
  for (const given of args.list('aux-address')) {
    const [name = '', address = ''] = given.split(/=(.*)/s, 2);
    const config = around(
      'aux-address',
      given,
      name && address,
      'expected a name and its address, such as router=10.1.0.2',
    );
    if (config.AuxiliaryAddresses?.[name]) throw wrong('aux-address', given, `${name} has an address already`);
    config.AuxiliaryAddresses = { ...config.AuxiliaryAddresses, [name]: address };
  }
  return configs;
}

async function create(args: Args, shell: Shell): Promise<void> {
  const configFrom = args.text('config-from');
  const request: NetworkCreateRequest = {
    Name: args.text('network') ?? '',
    Driver: args.text('driver') ?? 'overlay',
    Scope: oneOf('scope', args.text('scope') ?? 'swarm', ['swarm', 'local']),
    Internal: args.flag('internal'),
    Attachable: args.flag('attachable'),
    ...(args.flag('config-only') && { ConfigOnly: true }),
    ...(configFrom !== undefined && { ConfigFrom: { Network: configFrom } }),
    EnableIPv6: args.flag('ipv6'),
    IPAM: { Driver: 'default', Config: configsOf(args) },
    Options: pairs(args.list('opt')),
    Labels: pairs(args.list('label')),
  };
  const { Id: id, Warning: warning } = await shell
    .client()
    .post<{ Id: string; Warning: string }>('/networks/create', request);
  if (warning) shell.err(`${warning}\n`);
  shell.out(`${id}\n`);
}

const columns = [
  { header: 'NETWORK ID', field: 'ID' },
  { header: 'NAME', field: 'Name' },
  { header: 'DRIVER', field: 'Driver' },
  { header: 'SCOPE', field: 'Scope' },
];

async function list(args: Args, shell: Shell): Promise<void> {
  const networks = await shell.client().get<ShownNetwork[]>('/networks', { filters: apiFilters(args.list('filter')) });
  const rows = [...networks]
    .sort((a, b) => a.Name.localeCompare(b.Name) || a.Id.localeCompare(b.Id))
    .map((network) => ({
      ID: shortId(network.Id, args.flag('no-trunc')),
      Name: network.Name,
      Driver: network.Driver,
      Scope: network.Scope,
      IPv6: network.EnableIPv6,
      Internal: network.Internal,
      Attachable: network.Attachable,
      CreatedAt: network.Created,
      Labels: Object.entries(network.Labels ?? {})
        .map(([key, value]) => `${key}=${value}`)
        .join(','),
    }));
  shell.out(renderList(rows, columns, 'ID', { quiet: args.flag('quiet'), format: args.text('format') }));
}

async function inspect(args: Args, shell: Shell): Promise<void> {
  const found: ShownNetwork[] = [];
  for (const reference of args.list('network')) {
    const query = { verbose: args.flag('verbose') ? true : undefined };
    try {
      found.push(await shell.client().get<ShownNetwork>(`/networks/${encodeURIComponent(reference)}`, query));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      shell.fail(explain(error));
    }
  }
  shell.out(renderInspect(found, args.text('format')));
  for (const network of found) warnOfUse(network, shell);
}

/** Beside the answer, so that whoever reads that is not disturbed. */
function warnOfUse({ Name: name, Status: status }: ShownNetwork, shell: Shell): void {
  for (const [subnet, { IPsInUse: used, DynamicIPsAvailable: free }] of Object.entries(status?.IPAM?.Subnets ?? {})) {
    const of = used + free;
    if (!runsLow({ used, of })) continue;
    shell.err(`WARNING: addresses of network ${name} run low: ${used} of ${of} of ${subnet} are in use\n`);
  }
}

export const networkCommands: readonly Command[] = [
  {
    usage: 'create <network>',
    describe: 'Create a network',
    options: (yargs) =>
      yargs
        .option('driver', { alias: 'd', type: 'string', describe: 'overlay, bridge, macvlan or ipvlan (overlay)' })
        .option('scope', { type: 'string', describe: 'swarm: no other networks are made here' })
        .option('config-from', {
          type: 'string',
          describe: "A config-only network of each node's engine that the settings come from",
        })
        .option('config-only', { type: 'boolean', describe: 'Made with docker on each engine, not here' })
        .option('subnet', { type: 'string', array: true, nargs: 1, describe: 'A subnet (from the address pool)' })
        .option('gateway', { type: 'string', array: true, nargs: 1, describe: "A subnet's address to keep free" })
        .option('ip-range', {
          type: 'string',
          array: true,
          nargs: 1,
          describe: 'Where in a subnet addresses come from',
        })
        .option('aux-address', {
          type: 'string',
          array: true,
          nargs: 1,
          describe: "A subnet's address that is somebody else's (name=address)",
        })
        .option('attachable', {
          type: 'boolean',
          describe: "For containers made by hand too, with 'docker run --network' on any node",
        })
        .option('internal', { type: 'boolean', describe: 'No way out' })
        .option('ipv6', { type: 'boolean', describe: 'IPv6 as well' })
        .option('opt', { alias: 'o', type: 'string', array: true, nargs: 1, describe: 'Driver option (key=value)' })
        .option('label', { type: 'string', array: true, nargs: 1, describe: 'Label (key=value)' }),
    run: create,
  },
  {
    usage: 'ls',
    aliases: ['list'],
    describe: 'List the networks',
    options: (yargs) => listOptions(yargs).option('no-trunc', { type: 'boolean', describe: 'Do not shorten' }),
    run: list,
  },
  {
    usage: 'inspect <network...>',
    describe: 'Show networks in full',
    options: (yargs) =>
      yargs
        .option('format', { alias: 'f', type: 'string', describe: "'json' or a Go template" })
        .option('verbose', { type: 'boolean', describe: 'With the services and nodes on it' }),
    run: inspect,
  },
  {
    usage: 'rm <network...>',
    aliases: ['remove'],
    describe: 'Remove networks',
    run: (args, shell) =>
      forEach(shell, args.list('network'), async (reference) => {
        await shell.client().delete(`/networks/${encodeURIComponent(reference)}`);
        return reference;
      }),
  },
];
