import type { PortConfig, TaskEndpoint } from '@swarmctl/shared/model';
import type Docker from 'dockerode';
import { labelNames } from '../identity.ts';
import type { ContainerState, RuntimeNode } from '../types.ts';
import { decodePorts, portKey, portsLabel } from './ports.ts';

// What the engine says of a container, in the runtime port's words. Pure.

export interface StateView {
  readonly node: RuntimeNode;
  /** False when the engine is on another machine: then a container is reached at its published port only. */
  readonly reachable: boolean;
}

export function containerState(info: Docker.ContainerInspectInfo, view: StateView): ContainerState {
  const { State: state } = info;
  const phase = phaseOf(state.Status);
  const ports = phase === 'running' ? decodePorts(info.Config.Labels[portsLabel]) : [];
  return {
    taskId: info.Config.Labels[labelNames.taskId] ?? '',
    containerId: info.Id,
    phase,
    pid: state.Pid,
    ...(phase === 'exited' && { exitCode: state.ExitCode, oomKilled: state.OOMKilled }),
    ...healthOf(state.Health?.Status),
    endpoints: endpoints(info, ports, view),
    hostPorts: boundHostPorts(info, ports),
  };
}

function phaseOf(status: string): ContainerState['phase'] {
  if (status === 'created') return 'created';
  return ['exited', 'dead', 'removing'].includes(status) ? 'exited' : 'running';
}

function healthOf(status: string | undefined): Pick<ContainerState, 'health'> {
  return status === 'starting' || status === 'healthy' || status === 'unhealthy' ? { health: status } : {};
}

function endpoints(info: Docker.ContainerInspectInfo, ports: readonly PortConfig[], view: StateView): TaskEndpoint[] {
  const addr = containerAddr(info);
  const result: TaskEndpoint[] = [];
  for (const port of ports) {
    const key = portKey(port);
    if (port.PublishMode === 'host' || result.some((one) => `${one.targetPort}/${one.protocol}` === key)) continue;
    const nodePort = nodePortOf(info, ports, key, view.node.addr);
    if (nodePort === undefined) continue;
    const direct = view.reachable && addr !== undefined;
    result.push({
      protocol: port.Protocol || 'tcp',
      targetPort: port.TargetPort ?? 0,
      localAddr: direct ? addr : view.node.addr,
      localPort: direct ? (port.TargetPort ?? 0) : nodePort,
      nodeAddr: view.node.addr,
      nodePort,
    });
  }
  return result;
}

/** Newer engines name the address only in the network that it belongs to. */
function containerAddr(info: Docker.ContainerInspectInfo): string | undefined {
  const networks = Object.values(info.NetworkSettings.Networks ?? {});
  return networks.find((network) => network.IPAddress)?.IPAddress;
}

/** The binding that the engine chose: on the node's address, and not one that a host-mode port asked for. */
function nodePortOf(
  info: Docker.ContainerInspectInfo,
  ports: readonly PortConfig[],
  key: string,
  addr: string,
): number | undefined {
  const asked = new Set(ports.filter((port) => port.PublishMode === 'host').map((port) => String(port.PublishedPort)));
  const bindings = (info.NetworkSettings.Ports[key] ?? []).filter(({ HostPort }) => !asked.has(HostPort));
  const binding = bindings.find(({ HostIp }) => HostIp === addr) ?? bindings[0];
  return binding && Number(binding.HostPort);
}

function boundHostPorts(info: Docker.ContainerInspectInfo, ports: readonly PortConfig[]): PortConfig[] {
  return ports
    .filter((port) => port.PublishMode === 'host')
    .map((port) => {
      const binding = (info.NetworkSettings.Ports[portKey(port)] ?? []).find(
        ({ HostPort }) => !port.PublishedPort || Number(HostPort) === port.PublishedPort,
      );
      return { ...port, ...(binding && { PublishedPort: Number(binding.HostPort) }) };
    });
}
