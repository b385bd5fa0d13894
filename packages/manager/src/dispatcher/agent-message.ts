import { ClusterError, encode } from '@swarmctl/shared/kit';
import {
  formatIp,
  type Guest,
  isTaskState,
  type NodeDescription,
  type PortConfig,
  parseIp,
  type TaskEndpoint,
  type TaskState,
  type TaskStatus,
} from '@swarmctl/shared/model';
import type { AgentMessage, LogLine, StatusUpdate } from '@swarmctl/shared/wire';

// What agents send is checked before anything is done with it: what is not right ends their session and reaches nobody else.

type Fields = Readonly<Record<string, unknown>>;

const bad = (what: string): never => {
  throw new ClusterError('invalid-argument', `bad message from an agent: ${what}`);
};

/** The message with its known fields only. Throws `invalid-argument`. */
export function checkAgentMessage(value: unknown): AgentMessage {
  const message = fields(value, 'message');
  switch (message['type']) {
    case 'hello':
      if (message['protocol'] !== 1) bad(`protocol ${String(message['protocol'])} is not spoken here, 1 is`);
      return {
        type: 'hello',
        protocol: 1,
        instance: text(message, 'instance'),
        addr: address(message, 'addr'),
        description: description(message['description']),
        statuses: list(message, 'statuses', statusUpdate),
        revision: count(message, 'revision'),
      };
    case 'heartbeat':
    case 'applied':
      return { type: message['type'], revision: count(message, 'revision') };
    case 'status':
      return {
        type: 'status',
        sequence: count(message, 'sequence'),
        updates: list(message, 'updates', statusUpdate),
      };
    case 'describe':
      return {
        type: 'describe',
        description: description(message['description']),
        addr: address(message, 'addr'),
      };
    case 'logs':
      return { type: 'logs', subscription: text(message, 'subscription'), lines: list(message, 'lines', logLine) };
    case 'logs-end':
      return {
        type: 'logs-end',
        subscription: text(message, 'subscription'),
        ...(message['error'] !== undefined && { error: text(message, 'error', longText) }),
      };
    case 'renew':
      return { type: 'renew', csr: text(message, 'csr', 16 * 1024) };
    case 'image-wanted':
      return { type: 'image-wanted', taskId: text(message, 'taskId') };
    case 'goodbye':
      return { type: 'goodbye', graceMs: count(message, 'graceMs') };
    default:
      return bad(`unknown type ${String(message['type']).slice(0, 40)}`);
  }
}

const longText = 8 * 1024;
const maxDescriptionBytes = 128 * 1024;

function fields(value: unknown, name: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  return bad(`${name} is not a map`);
}

function text(from: Fields, key: string, most = 512): string {
  const value = from[key];
  if (typeof value === 'string' && value.length <= most) return value;
  return bad(`${key} is not a text of at most ${most} characters`);
}

/** An address or host name; nothing that could mean more where it is written into a rule. */
function address(from: Fields, key: string): string {
  const value = text(from, key, 255);
  return /^[A-Za-z0-9._:%-]+$/.test(value) ? value : bad(`${key} is not an address`);
}

function ip6(from: Fields, key: string): string {
  const value = text(from, key, 64);
  return parseIp(value)?.family === 6 ? value : bad(`${key} is not an IPv6 address`);
}

function count(from: Fields, key: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = from[key];
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= most) return value;
  return bad(`${key} is not a number from 0 to ${most}`);
}

function list<T>(from: Fields, key: string, check: (value: unknown) => T): T[] {
  const value = from[key];
  return Array.isArray(value) ? value.map(check) : bad(`${key} is not a list`);
}

function oneOf<T extends string>(from: Fields, key: string, values: readonly T[]): T {
  const value = values.find((one) => one === from[key]);
  return value ?? bad(`${key} is not one of ${values.join(', ')}`);
}

function description(value: unknown): NodeDescription {
  const from = fields(value, 'description');
  if (encode(value).length > maxDescriptionBytes) bad(`a description is over ${maxDescriptionBytes} bytes`);
  text(from, 'Hostname');
  const platform = fields(from['Platform'], 'Platform');
  text(platform, 'OS');
  text(platform, 'Architecture');
  const resources = fields(from['Resources'], 'Resources');
  count(resources, 'NanoCPUs');
  count(resources, 'MemoryBytes');
  if (resources['GenericResources'] !== undefined) list(resources, 'GenericResources', genericResource);
  engine(from['Engine']);
  if (from['TLSInfo'] !== undefined) tlsInfo(from['TLSInfo']);
  list(from, 'Runtimes', (name) => oneOf({ name }, 'name', ['docker', 'process']));
  if (typeof from['RuntimeReady'] !== 'boolean') bad('RuntimeReady is neither true nor false');
  const { Hostname, Platform, Resources, Engine, TLSInfo, Runtimes, RuntimeReady } = from as unknown as NodeDescription;
  return {
    Hostname,
    Platform,
    Resources,
    Engine,
    ...(TLSInfo && { TLSInfo }),
    Runtimes,
    RuntimeReady,
    ...(from['Ingress'] !== undefined && { Ingress: ingress(from['Ingress']) }),
    ...(from['Mesh'] !== undefined && { Mesh: mesh(from['Mesh']) }),
    ...(from['Tunnel'] !== undefined && { Tunnel: tunnel(from['Tunnel']) }),
    ...(from['Guests'] !== undefined && { Guests: list(from, 'Guests', guest) }),
    ...(from['NetworkProblems'] !== undefined && {
      NetworkProblems: list(from, 'NetworkProblems', (problem) => text({ problem }, 'problem', longText)),
    }),
  };
}

function genericResource(value: unknown): void {
  const { NamedResourceSpec, DiscreteResourceSpec } = fields(value, 'generic resource');
  if (NamedResourceSpec !== undefined) {
    const named = fields(NamedResourceSpec, 'NamedResourceSpec');
    text(named, 'Kind');
    text(named, 'Value');
  }
  if (DiscreteResourceSpec !== undefined) {
    const discrete = fields(DiscreteResourceSpec, 'DiscreteResourceSpec');
    text(discrete, 'Kind');
    count(discrete, 'Value');
  }
}

function engine(value: unknown): void {
  const from = fields(value, 'Engine');
  if (from['Labels'] !== undefined) {
    const labels = fields(from['Labels'], 'Engine.Labels');
    for (const name of Object.keys(labels)) text(labels, name, maxDescriptionBytes);
  }
  if (from['Plugins'] === undefined) return;
  list(from, 'Plugins', (plugin) => {
    const named = fields(plugin, 'plugin');
    text(named, 'Type');
    text(named, 'Name');
  });
}

function tlsInfo(value: unknown): void {
  const from = fields(value, 'TLSInfo');
  for (const name of ['TrustRoot', 'CertIssuerSubject', 'CertIssuerPublicKey']) {
    if (from[name] !== undefined) text(from, name, 16 * 1024);
  }
}

function guest(value: unknown): Guest {
  const from = fields(value, 'guest');
  const MAC = text(from, 'MAC');
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(MAC)) bad('MAC is not a hardware address');
  return {
    NetworkID: text(from, 'NetworkID'),
    ContainerID: text(from, 'ContainerID'),
    Name: text(from, 'Name'),
    Names: list(from, 'Names', (name) => text({ name }, 'name')),
    Addresses: list(from, 'Addresses', canonicalIp),
    MAC,
  };
}

function canonicalIp(value: unknown): string {
  const parsed = typeof value === 'string' ? parseIp(value) : undefined;
  return parsed ? formatIp(parsed) : bad('an address of a guest is not an IP address');
}

function ingress(value: unknown): NonNullable<NodeDescription['Ingress']> {
  const from = fields(value, 'Ingress');
  const Kind = oneOf(from, 'Kind', ['nftables', 'proxy', 'off']);
  if (from['Problems'] === undefined) return { Kind };
  return { Kind, Problems: list(from, 'Problems', (problem) => text({ problem }, 'problem', longText)) };
}

function mesh(value: unknown): NonNullable<NodeDescription['Mesh']> {
  const from = fields(value, 'Mesh');
  const { up } = from;
  if (typeof up !== 'boolean') return bad('Mesh.up is neither true nor false');
  return {
    up,
    dataPathAddr: ip(from, 'Mesh.dataPathAddr'),
    ...(from['why'] !== undefined && { why: text(from, 'why', longText) }),
  };
}

const tunnel = (value: unknown): NonNullable<NodeDescription['Tunnel']> => {
  const from = fields(value, 'Tunnel');
  return {
    key: publicKey(from['key']),
    generation: count(from, 'generation'),
    dataPathAddr: ip(from, 'Tunnel.dataPathAddr'),
  };
};

/** It is written into rules and routes, where a name or a zone would not do. */
function ip(from: Fields, name: string): string {
  const value = text(from, 'dataPathAddr', 255);
  return parseIp(value) ? value : bad(`${name} is not an IP address`);
}

/** 32 bytes as base64. */
const publicKey = (value: unknown): string =>
  typeof value === 'string' && /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(value)
    ? value
    : bad('Tunnel.key is not a key of 32 bytes');

/** States that agents report. */
const reported: ReadonlySet<TaskState> = new Set<TaskState>([
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
]);

function statusUpdate(value: unknown): StatusUpdate {
  const from = fields(value, 'update');
  return { taskId: text(from, 'taskId'), status: taskStatus(from['status']) };
}

function taskStatus(value: unknown): TaskStatus {
  const from = fields(value, 'status');
  const State = text(from, 'State');
  if (!isTaskState(State) || !reported.has(State)) return bad(`State '${State}' is not for agents to report`);
  const Timestamp = text(from, 'Timestamp', 64);
  if (Number.isNaN(Date.parse(Timestamp))) bad('Timestamp is not a time');
  return {
    Timestamp,
    State,
    ...(from['Message'] !== undefined && { Message: text(from, 'Message', longText) }),
    ...(from['Err'] !== undefined && { Err: text(from, 'Err', longText) }),
    ...(from['ContainerStatus'] !== undefined && { ContainerStatus: containerStatus(from['ContainerStatus']) }),
    ...(from['PortStatus'] !== undefined && { PortStatus: portStatus(from['PortStatus']) }),
    ...(from['Endpoints'] !== undefined && { Endpoints: list(from, 'Endpoints', endpoint) }),
    ...(from['Withdrawn'] === true && { Withdrawn: true as const }),
  };
}

function containerStatus(value: unknown): NonNullable<TaskStatus['ContainerStatus']> {
  const from = fields(value, 'ContainerStatus');
  const ExitCode = from['ExitCode'];
  if (typeof ExitCode !== 'number' || !Number.isSafeInteger(ExitCode)) return bad('ExitCode is not a number');
  return { ContainerID: text(from, 'ContainerID'), PID: count(from, 'PID'), ExitCode };
}

function portStatus(value: unknown): NonNullable<TaskStatus['PortStatus']> {
  const from = fields(value, 'PortStatus');
  return from['Ports'] === undefined ? {} : { Ports: list(from, 'Ports', portConfig) };
}

const protocols = ['tcp', 'udp', 'sctp'] as const;

function portConfig(value: unknown): PortConfig {
  const from = fields(value, 'port');
  return {
    ...(from['Name'] !== undefined && { Name: text(from, 'Name') }),
    ...(from['Protocol'] !== undefined && { Protocol: oneOf(from, 'Protocol', protocols) }),
    ...(from['TargetPort'] !== undefined && { TargetPort: count(from, 'TargetPort', 65_535) }),
    ...(from['PublishedPort'] !== undefined && { PublishedPort: count(from, 'PublishedPort', 65_535) }),
    ...(from['PublishMode'] !== undefined && { PublishMode: oneOf(from, 'PublishMode', ['ingress', 'host']) }),
  };
}

function endpoint(value: unknown): TaskEndpoint {
  const from = fields(value, 'endpoint');
  return {
    protocol: oneOf(from, 'protocol', protocols),
    targetPort: count(from, 'targetPort', 65_535),
    localAddr: address(from, 'localAddr'),
    ...(from['localAddr6'] !== undefined && { localAddr6: ip6(from, 'localAddr6') }),
    localPort: count(from, 'localPort', 65_535),
    nodeAddr: address(from, 'nodeAddr'),
    nodePort: count(from, 'nodePort', 65_535),
  };
}

function logLine(value: unknown): LogLine {
  const from = fields(value, 'line');
  const { line } = from;
  if (!(line instanceof Uint8Array)) return bad('line is not bytes');
  return {
    taskId: text(from, 'taskId'),
    stream: oneOf(from, 'stream', ['stdout', 'stderr']),
    time: text(from, 'time'),
    ...(from['attrs'] !== undefined && { attrs: text(from, 'attrs', 64 * 1024) }),
    line,
  };
}
