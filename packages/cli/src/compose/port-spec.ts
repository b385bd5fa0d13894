import { formatIp, type PortConfig, parseIp, portLabel } from '@swarmctl/shared/model';
import { type Port, type Span, spanOf } from './ports-shape.ts';
import type { Report } from './report.ts';
import type { Path } from './tree.ts';

// Ports of services as the API has them; an address that one answers on alone is a label.

export interface PortSpecs {
  readonly ports: readonly PortConfig[];
  readonly labels: Readonly<Record<string, string>>;
}

export function portSpecs(given: readonly Port[], path: Path, report: Report): PortSpecs {
  const ports: PortConfig[] = [];
  const addresses = new Map<string, string[]>();
  for (const [i, port] of given.entries()) {
    for (const config of spread(port, [...path, i], report)) {
      const key = portLabel('swarmctl.ingress.address', config);
      const address = addressOf(port, config, [...path, i], report);
      if (address) addresses.set(key, [...(addresses.get(key) ?? []), address]);
      // On several addresses it is one port all the same.
      if (!address || addresses.get(key)?.length === 1) ports.push(config);
    }
  }
  return {
    ports: ports.sort((a, b) => (a.PublishedPort ?? 0) - (b.PublishedPort ?? 0)),
    labels: Object.fromEntries([...addresses].map(([key, values]) => [key, values.join(',')])),
  };
}

/** One for each port of its ranges. */
function spread(port: Port, path: Path, report: Report): PortConfig[] {
  const targets = spanOf(port.target ?? '');
  if (!targets) {
    report.error(path, 'the target is missing: the port that the containers listen on');
    return [];
  }
  const published = spanOf(port.published ?? '');
  const count = sizeOf(published ?? targets);
  // All of a range may lead to one port.
  const isOne = sizeOf(targets) === 1;
  if (count !== sizeOf(targets) && !isOne) {
    report.error(path, `${count} published ports do not fit ${sizeOf(targets)} target ports`);
    return [];
  }
  return Array.from({ length: count }, (_, i) => ({
    ...(port.name !== undefined && { Name: port.name }),
    Protocol: port.protocol ?? 'tcp',
    TargetPort: isOne ? targets.first : targets.first + i,
    ...(published && { PublishedPort: published.first + i }),
    PublishMode: port.mode ?? 'ingress',
  }));
}

const sizeOf = ({ first, last }: Span): number => last - first + 1;

function addressOf(port: Port, config: PortConfig, path: Path, report: Report): string | undefined {
  const ip = parseIp(port.host_ip ?? '');
  // Of all addresses, it is no restriction.
  if (!ip || ip.value === 0n) return undefined;
  if (config.PublishMode === 'host')
    report.error(path, 'host_ip is for mode: ingress; in host mode every address answers');
  else if (!config.PublishedPort) report.error(path, 'host_ip needs a published port');
  else return formatIp(ip);
  return undefined;
}
