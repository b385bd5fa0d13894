import { ManualClock } from '@swarmctl/shared/kit';
import type { PortConfig, Protocol } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { aService, aTask } from '../../../../test/kit/builders.ts';
import type { ContainerState } from '../runtime/types.ts';
import { conntrackFlows, drainConnections, parseFlows, type UdpFlow } from './drain.ts';

// What a task that nobody routes to any more is waited for.

const end = 10_000;

interface Words {
  readonly protocols?: readonly Protocol[];
  readonly labels?: Record<string, string>;
  /** At a time since the begin. */
  readonly connections?: (ms: number) => number | undefined;
  readonly flows?: (ms: number) => readonly UdpFlow[] | undefined;
}

/** When it is over, ms after the begin. */
async function drained({ protocols = ['tcp'], labels = {}, connections = () => 0, flows = () => [] }: Words) {
  const ports: PortConfig[] = protocols.map((Protocol, i) => ({
    Protocol,
    TargetPort: 80 + i,
    PublishedPort: 8080 + i,
  }));
  const task = aTask({ service: aService({ ports, labels }), node: 'n1', state: 'running' });
  const clock = new ManualClock();
  const began = clock.now();
  const state: ContainerState = {
    taskId: task.ID,
    containerId: 'c1',
    phase: 'running',
    pid: 7,
    endpoints: protocols.map((protocol, i) => ({
      protocol,
      targetPort: 80 + i,
      localAddr: '172.17.0.2',
      localPort: 80 + i,
      nodeAddr: '10.0.0.1',
      nodePort: 32768 + i,
    })),
    hostPorts: [],
  };
  let took: number | undefined;
  const done = drainConnections(
    task,
    {
      runtime: { connections: async () => connections(clock.now() - began), inspect: async () => state },
      clock,
      flows: async () => flows(clock.now() - began),
    },
    new AbortController().signal,
  ).then(() => {
    took = clock.now() - began;
  });
  while (took === undefined && clock.now() - began < 2 * end) await clock.advance(25);
  await done;
  return took;
}

/** As the kernel tells of one that spoke last at `ms`: whole seconds of 120. */
const client = (ms: number, now: number): UdpFlow => ({
  client: 'c',
  remainingMs: Math.floor((120_000 - (now - ms)) / 1_000) * 1_000,
});

describe('the drain of', () => {
  const table: [string, Words, [number, number]][] = [
    ['nothing', {}, [0, 100]],
    ['TCP that ends', { connections: (ms) => (ms < 3_000 ? 2 : 0) }, [3_000, 3_200]],
    ['TCP that comes back between two looks', { connections: (ms) => (ms < 60 || ms > 500 ? 0 : 1) }, [500, 700]],
    ['TCP that does not end', { connections: () => 1 }, [end, end + 100]],
    [
      'TCP that does not end, with a limit',
      { connections: () => 1, labels: { 'swarmctl.drain-timeout': '1s' } },
      [1_000, 1_100],
    ],
    ['TCP that nobody can count', { connections: () => undefined }, [2_000, 2_100]],
    ['UDP without a client', { protocols: ['udp'] }, [500, 600]],
    ['UDP that is not published', { flows: (ms) => [client(ms, ms)] }, [0, 100]],
    ['UDP with a client that had spoken', { protocols: ['udp'], flows: (ms) => [client(-5_000, ms)] }, [2_000, 3_600]],
    [
      'UDP with a client that falls silent',
      { protocols: ['udp'], flows: (ms) => [client(Math.min(ms, 4_000), ms)] },
      [5_000, 7_100],
    ],
    [
      'UDP with a client that speaks each second',
      { protocols: ['udp'], flows: (ms) => [client(ms - (ms % 1_000), ms)] },
      [end, end + 100],
    ],
    [
      'UDP with a client that is moved elsewhere',
      { protocols: ['udp'], flows: (ms) => (ms < 1_000 ? [client(ms, ms)] : []) },
      [1_000, 1_600],
    ],
    [
      'UDP that speaks on, with a limit',
      { protocols: ['udp'], flows: (ms) => [client(ms, ms)], labels: { 'swarmctl.drain-timeout': '3s' } },
      [3_000, 3_100],
    ],
    ['UDP that nobody can see', { protocols: ['udp'], flows: () => undefined }, [2_000, 2_600]],
    [
      'UDP that is silent beside TCP that ends',
      { protocols: ['tcp', 'udp'], connections: (ms) => (ms < 6_000 ? 1 : 0) },
      [6_000, 6_200],
    ],
  ];
  test.each(table)('%s', async (_, words, [least, most]) => {
    const took = await drained(words);
    expect(took).toBeGreaterThanOrEqual(least);
    expect(took).toBeLessThanOrEqual(most);
  });
});

const listing = `udp      17 29 src=10.9.0.100 dst=10.9.0.1 sport=5555 dport=80 src=172.17.0.2 dst=10.9.0.100 sport=8080 dport=5555 [ASSURED] mark=0 use=1
udp      17 11 src=10.9.0.100 dst=10.9.0.1 sport=5556 dport=80 [UNREPLIED] src=172.17.0.2 dst=10.9.0.100 sport=8080 dport=5556 mark=0 use=1
udp      17 12 src=10.9.0.100 dst=10.9.0.1 sport=5557 dport=80 src=172.17.0.3 dst=10.9.0.100 sport=8080 dport=5557 mark=0 use=1
udp      17 13 src=10.9.0.100 dst=172.17.0.2 sport=8080 dport=53 src=172.17.0.2 dst=10.9.0.100 sport=53 dport=8080 mark=0 use=1
`;

test('flows are read from the listing: to the endpoint alone', () => {
  expect(parseFlows(listing, new Set(['172.17.0.2', '10.9.0.1']), 8080)).toEqual([
    { client: '10.9.0.100:5555 10.9.0.1:80', remainingMs: 29_000 },
    { client: '10.9.0.100:5556 10.9.0.1:80', remainingMs: 11_000 },
  ]);
});

test('without the tool, or without the right to ask, nothing is told', async () => {
  const endpoint = {
    protocol: 'udp',
    targetPort: 80,
    localAddr: '172.17.0.2',
    localPort: 80,
    nodeAddr: '10.0.0.1',
    nodePort: 1,
  } as const;
  expect(await conntrackFlows(() => Promise.reject(new Error('not installed')))(endpoint)).toBeUndefined();
  expect(
    await conntrackFlows(async () => ({ code: 1, stdout: '', stderr: 'Operation not permitted' }))(endpoint),
  ).toBeUndefined();
});
