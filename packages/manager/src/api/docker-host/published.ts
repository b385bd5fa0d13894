import { isIPv6 } from 'node:net';

// A port that a container publishes on all addresses of its node answers there, not where the client asks: it is shown at the node's address, as the first
// Swarm did. `docker port` and libraries that connect to it then find it.

interface ListedPort {
  readonly IP?: string;
}

interface Binding {
  readonly HostIp?: string;
}

type Bindings = Readonly<Record<string, readonly Binding[] | null>>;

/** Of a list. */
export const portsOf = <T extends { readonly Ports?: readonly ListedPort[] | null }>(row: T, addr: string): T =>
  addr === '' || !row.Ports ? row : { ...row, Ports: at(row.Ports, 'IP', addr) };

/** Of what an engine shows of one container. */
export function bindingsOf<T extends object>(shown: T, addr: string): T {
  const { NetworkSettings: settings } = shown as { NetworkSettings?: { Ports?: Bindings | null } };
  if (addr === '' || !settings?.Ports) return shown;
  const Ports = Object.fromEntries(
    Object.entries(settings.Ports).map(([port, all]) => [port, all && at(all, 'HostIp', addr)]),
  );
  return { ...shown, NetworkSettings: { ...settings, Ports } };
}

/** Those of the other family have no address to be shown at, unless there are no more. */
function at<K extends string, T extends { readonly [key in K]?: string }>(
  all: readonly T[],
  key: K,
  addr: string,
): T[] {
  const [own, other] = isIPv6(addr) ? ['::', '0.0.0.0'] : ['0.0.0.0', '::'];
  const hasOwn = all.some((one) => one[key] === own);
  return all.flatMap((one) => {
    if (one[key] === own) return [{ ...one, [key]: addr }];
    return hasOwn && one[key] === other ? [] : [one];
  });
}
