import type { PortConfig, Task, TaskState, TaskStatus } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { aService, aTask } from '../../../../test/kit/builders.ts';
import type { ContainerState } from '../runtime/types.ts';
import { type Action, type Sight, step } from './step.ts';

const port: PortConfig = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' };
const udp: PortConfig = { ...port, Protocol: 'udp', TargetPort: 53 };
const host: PortConfig = { ...port, PublishMode: 'host', PublishedPort: 9090 };

const endpoint = (of: PortConfig) => ({
  protocol: of.Protocol || ('tcp' as const),
  targetPort: of.TargetPort ?? 0,
  localAddr: '172.17.0.2',
  localPort: of.TargetPort ?? 0,
  nodeAddr: '10.0.0.1',
  nodePort: 32768,
});

interface Words {
  state?: TaskState;
  desired?: TaskState;
  ports?: PortConfig[];
  labels?: Record<string, string>;
  container?: ContainerState['phase'] | 'none';
  exit?: number;
  oom?: boolean;
  health?: ContainerState['health'];
  endpoints?: PortConfig[];
  networks?: string[];
  status?: Partial<TaskStatus>;
  sight?: Partial<Sight>;
}

function see(words: Words): Action {
  const { state = 'running', ports = [], container = 'running' } = words;
  const service = aService({ ports, labels: words.labels ?? {} });
  const made: Task = aTask({ service, node: 'n1', state, desired: words.desired ?? 'running' });
  const attachments = words.networks?.map((ID) => ({ Network: { ID }, Addresses: ['10.0.0.5/24'] }));
  const task = { ...made, ...(attachments && { NetworksAttachments: attachments }) };
  const { Timestamp, State } = task.Status;
  const message = { starting: 'starting', running: 'started', preparing: 'preparing' }[State as string];
  return step({
    task,
    status: { Timestamp, State, ...(message && { Message: message }), ...words.status },
    container:
      container === 'none'
        ? undefined
        : {
            taskId: task.ID,
            containerId: 'c1',
            phase: container,
            pid: container === 'running' ? 7 : 0,
            ...(container === 'exited' && { exitCode: words.exit ?? 0, oomKilled: words.oom ?? false }),
            ...(words.health && { health: words.health }),
            endpoints: (words.endpoints ?? words.ports ?? []).filter((one) => one.PublishMode !== 'host').map(endpoint),
            hostPorts: (words.ports ?? []).filter((one) => one.PublishMode === 'host'),
          },
    removed: false,
    mayStart: true,
    mayStop: true,
    reachable: false,
    drained: false,
    ...words.sight,
  });
}

const running = {
  State: 'running',
  Message: 'started',
  ContainerStatus: { ContainerID: 'c1', PID: 7, ExitCode: 0 },
} as const;
const settled = { status: { ...running } };
const served = { status: { ...running, Endpoints: [endpoint(port)] }, ports: [port] };
const named = { ...settled, networks: ['n'] };
const unnamed = { ...named, status: { ...running, Withdrawn: true as const } };
const ended = (ExitCode: number) => ({ ContainerID: 'c1', PID: 0, ExitCode });

describe('on its way up', () => {
  test.each<[string, Words, Action]>([
    [
      'assigned',
      { state: 'assigned', container: 'none' },
      { kind: 'report', status: { State: 'accepted', Message: 'accepted' } },
    ],
    [
      'accepted',
      { state: 'accepted', container: 'none' },
      { kind: 'report', status: { State: 'preparing', Message: 'preparing' } },
    ],
    ['preparing', { state: 'preparing', container: 'none' }, { kind: 'prepare' }],
    [
      'prepared',
      { state: 'preparing', container: 'created' },
      { kind: 'report', status: { State: 'ready', Message: 'prepared' } },
    ],
    ['ready, and meant to be no more', { state: 'ready', desired: 'ready', container: 'created' }, { kind: 'wait' }],
    ['ready, its container taken away', { state: 'ready', desired: 'ready', container: 'none' }, { kind: 'prepare' }],
    [
      'ready, to run',
      { state: 'ready', container: 'created' },
      { kind: 'report', status: { State: 'starting', Message: 'starting' } },
    ],
    ['starting', { state: 'starting', container: 'created' }, { kind: 'start' }],
    ['started', { state: 'starting' }, { kind: 'report', status: running }],
    ['started, before its health is known', { state: 'starting', health: 'starting' }, { kind: 'wait' }],
    ['healthy', { state: 'starting', health: 'healthy' }, { kind: 'report', status: running }],
    [
      'unhealthy before it ran',
      { state: 'starting', health: 'unhealthy' },
      { kind: 'give-up', failure: 'dockerexec: unhealthy container' },
    ],
    ['running', settled, { kind: 'wait' }],
    ['well again, under the next daemon', { ...unnamed, health: 'healthy' }, { kind: 'report', status: running }],
    [
      'with a host-mode port',
      { state: 'starting', ports: [host] },
      { kind: 'report', status: { ...running, PortStatus: { Ports: [host] } } },
    ],
  ])('%s', (_, words, action) => expect(see(words)).toEqual(action));
});

describe('published ports', () => {
  const withEndpoints = { kind: 'report', status: { ...running, Endpoints: [endpoint(port)] } } as const;
  test.each<[string, Words, Action]>([
    ['runs before it serves', { state: 'starting', ports: [port] }, { kind: 'report', status: running }],
    ['is probed', { ...settled, ports: [port] }, { kind: 'probe' }],
    ['accepts connections', { ...settled, ports: [port], sight: { reachable: true } }, withEndpoints],
    ['is served already', served, { kind: 'wait' }],
    ['healthy: at once', { state: 'starting', ports: [port], health: 'healthy' }, withEndpoints],
    [
      'opted out: at once',
      { state: 'starting', ports: [port], labels: { 'swarmctl.ready-check': 'none' } },
      withEndpoints,
    ],
    [
      'UDP only: at once',
      { state: 'starting', ports: [udp] },
      { kind: 'report', status: { ...running, Endpoints: [endpoint(udp)] } },
    ],
    ['the runtime does not say where', { ...settled, ports: [port, udp], endpoints: [udp] }, { kind: 'look-again' }],
    ['never leaves the table by itself', { ...served, endpoints: [] }, { kind: 'wait' }],
  ])('%s', (_, words, action) => expect(see(words)).toEqual(action));
});

describe('its end', () => {
  test.each<[string, Words, object]>([
    [
      'exit 0',
      { ...settled, container: 'exited' },
      { State: 'complete', Message: 'finished', ContainerStatus: ended(0) },
    ],
    [
      'exit 3',
      { ...settled, container: 'exited', exit: 3 },
      { State: 'failed', Message: 'started', Err: 'task: non-zero exit (3)', ContainerStatus: ended(3) },
    ],
    [
      'out of memory',
      { ...settled, container: 'exited', exit: 137, oom: true },
      {
        State: 'failed',
        Message: 'started',
        Err: 'task: non-zero exit (137): out of memory',
        ContainerStatus: ended(137),
      },
    ],
    [
      'before it ran',
      { state: 'starting', container: 'exited', exit: 1 },
      { State: 'failed', Message: 'started', Err: 'task: non-zero exit (1)', ContainerStatus: ended(1) },
    ],
    [
      'its container is gone',
      { ...settled, container: 'none' },
      { State: 'failed', Message: 'started', Err: 'task: container is gone', ContainerStatus: ended(0) },
    ],
    [
      'given up, once it has stopped',
      { ...settled, container: 'exited', exit: 0, sight: { failure: 'unwell' } },
      { State: 'failed', Message: 'started', Err: 'unwell', ContainerStatus: ended(0) },
    ],
    [
      'stopped as wished, whatever the exit code',
      { ...settled, desired: 'shutdown', container: 'exited', exit: 137 },
      { State: 'shutdown', Message: 'shutdown', ContainerStatus: ended(137) },
    ],
    [
      'called off before it was prepared',
      { state: 'preparing', desired: 'shutdown', container: 'none' },
      { State: 'shutdown', Message: 'shutdown', ContainerStatus: { ContainerID: '', PID: 0, ExitCode: 0 } },
    ],
    [
      'called off when prepared',
      { state: 'ready', desired: 'remove', container: 'created' },
      { State: 'shutdown', Message: 'shutdown', ContainerStatus: ended(0) },
    ],
  ])('%s', (_, words, status) => expect(see(words)).toEqual({ kind: 'report', status }));
});

describe('stopping', () => {
  test.each<[string, Words, Action['kind']]>([
    ['to stop', { ...settled, desired: 'shutdown' }, 'stop'],
    ['to stop, with connections', { ...served, desired: 'shutdown' }, 'drain'],
    ['drained', { ...served, desired: 'shutdown', sight: { drained: true } }, 'stop'],
    ['given up: nobody is sent there any more', { ...served, sight: { failure: 'unwell' } }, 'report'],
    ['given up, drained', { ...served, sight: { failure: 'unwell', drained: true } }, 'report'],
    ['given up, never routed to', { ...settled, sight: { failure: 'unwell' } }, 'stop'],
    ['given up: no name leads there any more', { ...named, sight: { failure: 'unwell' } }, 'report'],
    ['given up: names get a moment', { ...unnamed, sight: { failure: 'unwell' } }, 'drain'],
    ['given up, out of all names', { ...unnamed, sight: { failure: 'unwell', drained: true } }, 'stop'],
    ['to stop, with names', { ...named, desired: 'shutdown' }, 'stop'],
    ['forgotten while it runs', { ...served, sight: { removed: true } }, 'drain'],
    ['forgotten, drained', { ...served, sight: { removed: true, drained: true } }, 'stop'],
    ['forgotten, stopped', { ...settled, container: 'exited', sight: { removed: true } }, 'remove'],
    ['forgotten, prepared', { state: 'ready', container: 'created', sight: { removed: true } }, 'remove'],
    ['forgotten and gone', { ...settled, container: 'none', sight: { removed: true } }, 'forget'],
    ['ended, kept', { state: 'failed', container: 'exited', exit: 1 }, 'wait'],
    ['ended for the managers, but it runs', { state: 'orphaned' }, 'stop'],
  ])('%s', (_, words, kind) => expect(see(words).kind).toBe(kind));
});

describe('without a manager nothing begins', () => {
  const cut = { mayStart: false, mayStop: true };
  const fresh = { mayStart: false, mayStop: false };
  test.each<[string, Words, Action['kind']]>([
    ['assigned', { state: 'assigned', container: 'none', sight: cut }, 'wait'],
    ['preparing', { state: 'preparing', container: 'none', sight: cut }, 'wait'],
    ['ready', { state: 'ready', container: 'created', sight: cut }, 'wait'],
    ['starting', { state: 'starting', container: 'created', sight: cut }, 'wait'],
    ['it goes on to run', { state: 'starting', sight: cut }, 'report'],
    ['its end is seen', { ...settled, container: 'exited', exit: 1, sight: fresh }, 'report'],
    ['a known wish to stop is followed', { ...settled, desired: 'shutdown', sight: cut }, 'stop'],
    ['but not by a daemon that has just begun', { ...settled, desired: 'shutdown', sight: fresh }, 'wait'],
    ['nor does that remove', { ...settled, container: 'exited', sight: { ...fresh, removed: true } }, 'wait'],
    ['nor give up', { ...settled, sight: { ...fresh, failure: 'unwell' } }, 'wait'],
  ])('%s', (_, words, kind) => expect(see(words).kind).toBe(kind));
});
