import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { below, type Random } from '@swarmctl/shared/kit';
import type { PortConfig, Protocol, Task, TaskEndpoint } from '@swarmctl/shared/model';
import { hostPorts, ingressPorts } from '@swarmctl/shared/wire';
import { RuntimeError } from '../types.ts';

// A process shares the machine's ports with everybody, so each of its ports is given a free one, told by PORT and PORT_<target>.

/** Below the range that the kernel takes for outgoing connections. */
const firstPort = 20_000;
const lastPort = 29_999;
const attempts = 200;

export interface Assigned {
  readonly targetPort: number;
  readonly protocol: Protocol;
  readonly localPort: number;
  readonly mode: 'ingress' | 'host';
}

/** A local port for each target port: a host-mode one as published, else a free one that no other task here was given. */
export async function assignPorts(task: Task, taken: ReadonlySet<number>, random: Random): Promise<Assigned[]> {
  const assigned: Assigned[] = [];
  const reserved = new Set(taken);
  for (const [mode, ports] of [
    ['ingress', ingressPorts(task)],
    ['host', hostPorts(task)],
  ] as const) {
    for (const port of ports) {
      const [targetPort, protocol] = [port.TargetPort ?? 0, port.Protocol || 'tcp'];
      if (assigned.some((one) => one.targetPort === targetPort && one.protocol === protocol)) {
        if (mode === 'host') throw bothModes(targetPort);
        continue;
      }
      const localPort =
        mode === 'host' && port.PublishedPort ? port.PublishedPort : await freePort(protocol, reserved, random);
      reserved.add(localPort);
      assigned.push({ targetPort, protocol, localPort, mode });
    }
  }
  return assigned;
}

/** `PORT` is the first port's; every one has `PORT_<target>`. */
export function portEnv(assigned: readonly Assigned[]): Record<string, string> {
  const env: Record<string, string> = {};
  for (const { targetPort, localPort } of assigned) env[`PORT_${targetPort}`] ??= String(localPort);
  if (assigned[0]) env['PORT'] = String(assigned[0].localPort);
  return env;
}

export const endpointsOf = (assigned: readonly Assigned[], nodeAddr: string, localAddr: string): TaskEndpoint[] =>
  assigned
    .filter(({ mode }) => mode === 'ingress')
    .map(({ protocol, targetPort, localPort }) => ({
      protocol,
      targetPort,
      localAddr,
      localPort,
      nodeAddr,
      nodePort: localPort,
    }));

export const hostPortsOf = (task: Task, assigned: readonly Assigned[]): PortConfig[] =>
  hostPorts(task).map((port) => {
    const own = assigned.find(
      (one) => one.mode === 'host' && one.targetPort === port.TargetPort && one.protocol === (port.Protocol || 'tcp'),
    );
    return { ...port, ...(own && { PublishedPort: own.localPort }) };
  });

/** The node's own address if the machine has it (others use it too, so a process that does not listen there shows), else loopback. */
export function localAddrOf(addr: string): string {
  if (addr.startsWith('127.')) return addr;
  const own = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === addr));
  return own ? addr : '127.0.0.1';
}

async function freePort(protocol: Protocol, taken: ReadonlySet<number>, random: Random): Promise<number> {
  if (protocol === 'sctp') throw new RuntimeError('the process runtime has no sctp ports', { permanent: true });
  for (let i = 0; i < attempts; i++) {
    const port = firstPort + below(random, lastPort - firstPort + 1);
    if (!taken.has(port) && (await isFree(protocol, port))) return port;
  }
  throw new RuntimeError(`no free port from ${firstPort} to ${lastPort} was found`);
}

function isFree(protocol: 'tcp' | 'udp', port: number): Promise<boolean> {
  return new Promise((resolve) => {
    if (protocol === 'tcp') {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen({ port, host: '0.0.0.0', exclusive: true }, () => server.close(() => resolve(true)));
    } else {
      const socket = createSocket('udp4');
      socket.once('error', () => resolve(false));
      socket.bind({ port, exclusive: true }, () => socket.close(() => resolve(true)));
    }
  });
}

const bothModes = (targetPort: number) =>
  new RuntimeError(
    `target port ${targetPort} is published in ingress and in host mode; a process can listen on only one port for it`,
    { permanent: true },
  );
