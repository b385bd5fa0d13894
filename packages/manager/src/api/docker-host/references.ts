import type { Network } from '@swarmctl/shared/model';
import { withoutNode } from './containers.ts';
import type { ContainerConfig } from './placement.ts';

// Other containers that a container's configuration refers to: those that it shares volumes or namespaces with, and those that it is linked to.

export interface Reference {
  readonly by: 'volumes' | 'link' | 'mode';
  readonly name: string;
}

/** Told of each reference, it says what stands there instead; `network`: on which alone it is one. */
type Tell = (reference: Reference, network?: string) => string;

/** Those on whose node alone it can be. On the cluster's networks, `networks` by their engines' names, links are known on every node. */
export function neededBeside(config: ContainerConfig, networks: readonly Network[]): readonly Reference[] {
  const needed: Reference[] = [];
  const isCluster = (name: string | undefined) => networks.some(({ Spec }) => Spec.Name === name);
  const mode = config.HostConfig?.NetworkMode;
  tellAll(config, (reference, network = mode) => {
    if (reference.by !== 'link' || !isCluster(network)) needed.push(reference);
    return reference.name;
  });
  return needed;
}

/** NODE/NAME is NAME to the engine of that node. */
export const withoutNodes = (config: ContainerConfig): ContainerConfig =>
  tellAll(config, ({ name }) => withoutNode(name));

/** The same of what a container has on one network. */
export const endpointWithoutNodes = (endpoint: unknown): unknown =>
  inEndpoint(endpoint, '', ({ name }) => withoutNode(name));

/** Containers that it is linked to on one network. */
export function linksOf(endpoint: unknown): readonly string[] {
  const links: string[] = [];
  inEndpoint(endpoint, '', ({ name }) => {
    links.push(name);
    return name;
  });
  return links;
}

const modes = ['NetworkMode', 'IpcMode', 'PidMode'] as const;

function tellAll(config: ContainerConfig, tell: Tell): ContainerConfig {
  const { HostConfig: host, NetworkingConfig: networking } = config;
  const endpoints = Object.entries(networking?.EndpointsConfig ?? {});
  return {
    ...config,
    ...(host && { HostConfig: { ...host, ...inHost(host, tell) } }),
    ...(endpoints.length > 0 && {
      NetworkingConfig: {
        ...networking,
        EndpointsConfig: Object.fromEntries(
          endpoints.map(([network, one]) => [network, inEndpoint(one, network, tell)]),
        ),
      },
    }),
  };
}

function inHost(host: NonNullable<ContainerConfig['HostConfig']>, tell: Tell) {
  const { VolumesFrom, Links } = host;
  return {
    ...(Array.isArray(VolumesFrom) && { VolumesFrom: VolumesFrom.map((text) => inText('volumes', text, tell)) }),
    ...(Array.isArray(Links) && { Links: Links.map((text) => inText('link', text, tell)) }),
    ...Object.fromEntries(
      modes.flatMap((key) => {
        const name = /^container:(.+)$/s.exec(String(host[key] ?? ''))?.[1];
        return name === undefined ? [] : [[key, `container:${tell({ by: 'mode', name })}`]];
      }),
    ),
  };
}

function inEndpoint(endpoint: unknown, network: string, tell: Tell): unknown {
  const links = (endpoint as { readonly Links?: unknown } | null)?.Links;
  if (!Array.isArray(links)) return endpoint;
  return { ...(endpoint as object), Links: links.map((text) => inText('link', text, (one) => tell(one, network))) };
}

/** Of `NAME:more`. */
function inText(by: Reference['by'], text: unknown, tell: Tell): string {
  const [name = ''] = String(text).split(':');
  return `${tell({ by, name })}${String(text).slice(name.length)}`;
}
