import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, seededRandom, silentLogger } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeIngress } from '../../../../test/kit/fake-ingress.ts';
import { FakeManagerStream } from '../../../../test/kit/fake-manager-stream.ts';
import { FakeRuntime } from '../../../../test/kit/fake-runtime.ts';
import type { Mesh, MeshState } from '../network/types.ts';
import { Agent } from './agent.ts';
import type { LinkStream } from './link.ts';

// What the mesh hears of other hosts makes an agent doubt its manager. (All else that agents do: test/sim/link.)

let folder: string;
let clock: ManualClock;
let stream: FakeManagerStream;
let running: Promise<unknown>;
let stop: AbortController;
const listeners = new Set<(state: MeshState) => void>();

/** The mesh says which hosts it hears no more. */
const silent = (...nodeIds: string[]) => {
  for (const listener of listeners) listener({ gone: new Set(nodeIds) } as Partial<MeshState> as MeshState);
};
const beats = () => stream.sent.filter(({ type }) => type === 'heartbeat').length;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-agent-'));
  clock = new ManualClock();
  stop = new AbortController();
  const mesh: Mesh = {
    apply: () => new Promise(() => undefined),
    state: () => undefined,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    problems: () => [],
    close: async () => undefined,
  };
  await new Promise<void>((connected) => {
    const connect = async () => {
      stream = new FakeManagerStream();
      // Whoever waits for it has the session by then.
      setImmediate(connected);
      return stream as unknown as LinkStream;
    };
    const agent = new Agent(
      { nodeId: 'n1', hostname: 'one', addr: '192.0.2.1', journalPath: join(folder, 'tasks.json'), restartGraceMs: 0 },
      {
        ...{ runtimes: new Map([['docker', new FakeRuntime()]]), ingress: new FakeIngress(), mesh, link: { connect } },
        ...{ clock, random: seededRandom(1), newId: () => 'i1', log: silentLogger },
      },
    );
    running = agent.run(stop.signal);
  });
  stream.emit('message', { type: 'heartbeat-period', heartbeatMs: 60_000 });
  stream.sent.length = 0;
});
afterEach(async () => {
  stop.abort();
  await running;
  rmSync(folder, { recursive: true, force: true });
});

test('a host that the mesh hears no more makes it ask its manager at once, each host once', async () => {
  silent('n2');
  expect(beats()).toBe(1);
  silent('n2');
  expect(beats()).toBe(1);
  silent('n2', 'n3');
  expect(beats()).toBe(2);
  silent('n3');
  silent('n2', 'n3');
  expect(beats()).toBe(3);
  stream.emit('message', { type: 'heartbeat-ack' });
  await clock.advance(10_000);
  expect(stream.closed).toBe(false);
});

test('a manager that then says nothing is left, long before its heartbeats tell', async () => {
  silent('n2');
  await clock.advance(2_000);
  expect(stream.closed).toBe(true);
});

test('a mesh that goes on hearing all asks nothing of the manager', async () => {
  silent();
  silent();
  await clock.advance(10_000);
  expect([beats(), stream.closed]).toEqual([0, false]);
});

test('who has ended follows the mesh no more', async () => {
  stop.abort();
  await running;
  expect(listeners.size).toBe(0);
});
