import { ClusterError } from '../kit/errors.ts';
import { isLocalDriver, type LocalDriver, localDrivers } from './networks.ts';
import type { Network } from './objects.ts';
import type { NetworkCreateRequest } from './specs.ts';

// Networks that the cluster knows by name, and that each node's engine makes by itself: what differs from node to node, such as addresses,
// stands in a config-only network of the engine.

const invalid = (message: string) => new ClusterError('invalid-argument', message);
const forbidden = (message: string) => new ClusterError('permission-denied', message);

/** The driver of such a network; undefined for an overlay network. Throws ClusterError for what is neither. */
export function localDriverOf(request: NetworkCreateRequest): LocalDriver | undefined {
  if (request.ConfigOnly) {
    throw new ClusterError(
      'unimplemented',
      "a config-only network belongs to one engine: make it with docker on each node's engine, then here the network that " +
        'takes it, with the same driver, --scope swarm and --config-from',
    );
  }
  const driver = request.Driver || 'bridge';
  if (driver === 'overlay') return undefined;
  if (driver === 'host' || driver === 'null') throw forbidden(`only one instance of "${driver}" network is allowed`);
  if (!isLocalDriver(driver)) {
    const known = `a network's driver is overlay, or with the scope swarm ${localDrivers.join(', ')}`;
    throw new ClusterError('not-found', `plugin "${driver}" not found: ${known}`);
  }
  if (request.Scope !== 'swarm') {
    throw new ClusterError(
      'unimplemented',
      `a network of the driver '${driver}' belongs to one engine unless its scope is swarm: add --scope swarm, or ask for the driver overlay`,
    );
  }
  return driver;
}

type Rest = Pick<Network['Spec'], 'DriverConfiguration' | 'ConfigFrom' | 'IPAMOptions'>;

/** `configs`: checked. Throws ClusterError. */
export function localSpec(
  request: NetworkCreateRequest,
  driver: LocalDriver,
  configs: NonNullable<NonNullable<Network['Spec']['IPAMOptions']>['Configs']>,
): Rest {
  if (request.Attachable) {
    throw invalid(
      `a network of the driver '${driver}' is not attachable: containers get one of their engine's own, with the same --config-from`,
    );
  }
  const options = request.Options ?? {};
  const isConfigured = Object.keys(options).length > 0;
  const from = request.ConfigFrom?.Network;
  if (from) {
    if (configs.length > 0 || request.EnableIPv6) {
      throw forbidden(
        'user specified configurations are not supported if the network depends on a configuration network',
      );
    }
    if (isConfigured) {
      throw forbidden('network driver options are not supported if the network depends on a configuration network');
    }
    return { DriverConfiguration: { Name: driver }, ConfigFrom: { Network: from } };
  }
  // Behind a bridge, each node has its own; on a wire that they share, no two engines may give the same.
  if (driver !== 'bridge' && configs.length > 0) {
    throw invalid(
      `subnets of a network of the driver '${driver}' would have each node's engine give the same addresses: put them into a ` +
        'config-only network on each node, with an --ip-range of its own, and name that by --config-from',
    );
  }
  return {
    DriverConfiguration: { Name: driver, ...(isConfigured && { Options: options }) },
    ...(configs.length > 0 && { IPAMOptions: { Driver: { Name: 'default' }, Configs: configs } }),
  };
}
