import { ManualClock, settle, silentLogger } from '@swarmctl/shared/kit';
import type { TaskEndpoint, TaskStatus } from '@swarmctl/shared/model';
import type { IngressBackend, IngressEntry, MeshView, NetworkView } from '@swarmctl/shared/wire';
import { describe, expect, test } from 'vitest';
import { FakeIngress } from '../../../../test/kit/fake-ingress.ts';
import type { Mesh, MeshState } from '../network/types.ts';
import { heldMs, Routing, type RoutingStart } from './routing.ts';

const entry = (publishedPort: number): IngressEntry => ({
  key: `tcp/${publishedPort}`,
  serviceId: 's',
  serviceName: 's',
  protocol: 'tcp',
  publishedPort,
  targetPort: 80,
  backends: [],
});

function made(entries: IngressEntry[] = [], revision = 0) {
  const ingress = new FakeIngress();
  const clock = new ManualClock();
  const told: number[] = [];
  const routing = new Routing(
    { entries, revision },
    { ingress, clock, log: silentLogger, applied: (reached) => told.push(reached) },
  );
  return { routing, ingress, clock, told };
}

test('what the journal held is put into force when no manager has said more for a second', async () => {
  const { routing, ingress, told, clock } = made([entry(1)], 9);
  expect(routing.applied).toBe(0);
  routing.restore();
  await clock.advance(heldMs - 1);
  await settle();
  expect([ingress.applies, told]).toEqual([0, []]);
  await clock.advance(1);
  await settle();
  expect([...ingress.table.keys()]).toEqual(['tcp/1']);
  expect(told).toEqual([9]);
});

test.each<[string, (routing: Routing) => void, string[], number]>([
  ['the whole', (routing) => routing.replace([entry(2)], 10), ['tcp/2'], 10],
  ['what has changed', (routing) => routing.change([entry(2)], ['tcp/1'], 10), ['tcp/2'], 10],
  ['that nothing has', (routing) => routing.change([], [], 9), ['tcp/1'], 9],
])('an older journal is never in force once a manager says %s', async (_, say, keys, revision) => {
  const { routing, ingress, told, clock } = made([entry(1)], 9);
  routing.restore();
  say(routing);
  await clock.advance(2 * heldMs);
  await settle();
  expect([...ingress.table.keys()]).toEqual(keys);
  expect([ingress.applies, told]).toEqual([1, [revision]]);
});

test('deltas are laid over the whole; a revision without a change counts at once', async () => {
  const { routing, ingress, told } = made();
  routing.replace([entry(1), entry(2)], 5);
  routing.change([entry(3)], ['tcp/1'], 6);
  await settle();
  routing.change([], [], 7);
  await settle();
  expect([...ingress.table.keys()]).toEqual(['tcp/2', 'tcp/3']);
  expect(ingress.applies).toBe(2);
  expect(told.at(-1)).toBe(7);
});

test('no revision is told before an earlier table is in force', async () => {
  const { routing, ingress, told } = made();
  ingress.block();
  routing.replace([entry(1)], 5);
  routing.change([], [], 6);
  await settle();
  expect(told).toEqual([]);
  ingress.unblock();
  await settle();
  expect(routing.applied).toBe(6);
});

test('a table that is refused is tried again, and not told of before', async () => {
  const { routing, ingress, clock, told } = made();
  const apply = ingress.apply.bind(ingress);
  ingress.apply = () => Promise.reject(new Error('no nft'));
  routing.replace([entry(1)], 5);
  await clock.advance(500);
  expect(told).toEqual([]);
  ingress.apply = apply;
  await clock.advance(1_000);
  expect(told).toEqual([5]);
});

describe('with a mesh', () => {
  const view = (self: number): MeshView => ({
    ...{ self, vni: 77, port: 4_789, pool4: '198.18.0.0/16', pool6: 'fd11::/64', peers: [] },
  });
  const backend = (nodeId: string): IngressBackend => ({
    ...{ taskId: nodeId, nodeId, protocol: 'tcp', targetPort: 80, localAddr: '172.17.0.2', localPort: 80 },
    ...{ nodeAddr: '10.0.0.1', nodePort: 32_768 },
  });

  class FakeMesh implements Mesh {
    readonly views: MeshView[] = [];
    current: MeshState | undefined;
    readonly listeners = new Set<(state: MeshState) => void>();
    refuses = false;
    gate: Promise<void> = Promise.resolve();

    async apply(wanted: MeshView): Promise<MeshState> {
      this.views.push(wanted);
      await this.gate;
      if (this.refuses) throw new Error('no device');
      this.current = this.stateOf(wanted.self);
      return this.current;
    }
    stateOf(self: number, gone: string[] = []): MeshState {
      return {
        ...{ device: 'swm', self, addresses: { v4: '198.18.0.1', v6: 'fd11::1' }, mark: 0x5377_0000 },
        ...{ wayTo: () => ({ kind: 'mesh', v4: '' }), marks: new Map(), senders: [], own: [], gone: new Set(gone) },
      };
    }
    change(gone: string[]): void {
      this.current = this.stateOf(1, gone);
      for (const listener of this.listeners) listener(this.current);
    }
    state = () => this.current;
    onChange(listener: (state: MeshState) => void): () => void {
      this.listeners.add(listener);
      return () => this.listeners.delete(listener);
    }
    problems = () => [];
    async close(): Promise<void> {}
  }

  function meshed(start: Partial<RoutingStart> = {}) {
    const ingress = new FakeIngress();
    const states: (MeshState | undefined)[] = [];
    const doors: number[][] = [];
    const apply = ingress.apply.bind(ingress);
    ingress.apply = (entries, state?: MeshState, own: readonly TaskEndpoint[] = []) => {
      states.push(state);
      doors.push(own.map(({ nodePort }) => nodePort));
      return apply(entries);
    };
    const mesh = new FakeMesh();
    const clock = new ManualClock();
    const told: number[] = [];
    const routing = new Routing(
      { entries: [], revision: 0, ...start },
      { ingress, mesh, clock, log: silentLogger, applied: (reached) => told.push(reached) },
    );
    return { routing, ingress, mesh, states, doors, told, clock };
  }

  test('a view is in force before the table that came with it, and the revision counts when both are', async () => {
    const { routing, ingress, mesh, states, told } = meshed();
    let open = () => {};
    mesh.gate = new Promise((resolve) => {
      open = resolve;
    });
    routing.replace([entry(1)], 5, view(1));
    await settle();
    expect([ingress.applies, told]).toEqual([0, []]);
    open();
    await settle();
    expect(states.at(-1)?.self).toBe(1);
    expect([...ingress.table.keys()]).toEqual(['tcp/1']);
    expect(told).toEqual([5]);
    routing.change([entry(2)], [], 6);
    await settle();
    expect(mesh.views).toHaveLength(1);
    expect([states.at(-1), [...ingress.table.keys()]]).toEqual([mesh.current, ['tcp/1', 'tcp/2']]);
    routing.change([], [], 7, view(2));
    await settle();
    expect([mesh.views.length, states.at(-1)?.self, told.at(-1)]).toEqual([2, 2, 7]);
  });

  test('the journal’s view comes before any manager', async () => {
    const { routing, mesh, states, clock } = meshed({ entries: [entry(1)], revision: 9, mesh: view(3) });
    expect(routing.mesh).toEqual(view(3));
    routing.restore();
    await clock.advance(heldMs);
    await settle();
    expect([mesh.views, states.at(-1)?.self]).toEqual([[view(3)], 3]);
  });

  test('a mesh that cannot be had leaves the table in force without it', async () => {
    const { routing, ingress, mesh, states, told } = meshed();
    mesh.refuses = true;
    routing.replace([entry(1)], 5, view(1));
    await settle();
    expect([...ingress.table.keys()]).toEqual(['tcp/1']);
    expect([states.at(-1), told]).toEqual([undefined, [5]]);
  });

  test('a task can be reached by the mesh from its report on until it has ended, whatever the table says', async () => {
    const status = (State: TaskStatus['State'], ...ports: number[]): TaskStatus => {
      const Endpoints = ports.map((nodePort) => ({ ...backend('a'), nodePort }));
      return { Timestamp: '2026-01-01T00:00:00Z', State, ...(ports.length > 0 && { Endpoints }) };
    };
    const { routing, ingress, doors, clock } = meshed({
      ...{ revision: 3, mesh: view(1) },
      statuses: [{ taskId: 'old', status: status('running', 100) }],
    });
    routing.restore();
    await clock.advance(heldMs);
    await settle();
    expect(doors.at(-1)).toEqual([100]);
    expect(routing.seen('new', status('starting'))).toBeUndefined();
    await settle();
    expect(ingress.applies).toBe(1);
    ingress.block();
    let isOpen = false;
    void routing.seen('new', status('running', 200))?.then(() => {
      isOpen = true;
    });
    await settle();
    expect([isOpen, doors.at(-1)]).toEqual([false, [100, 200]]);
    ingress.unblock();
    await settle();
    expect(isOpen).toBe(true);
    // An ingress that cannot be had keeps nobody waiting for ever.
    ingress.block();
    let isOver = false;
    void routing.seen('other', status('running', 300))?.then(() => {
      isOver = true;
    });
    await clock.advance(1_000);
    expect(isOver).toBe(true);
    ingress.unblock();
    routing.forget('other');
    await settle();
    routing.replace([], 4, view(1));
    await settle();
    expect(doors.at(-1)).toEqual([100, 200]);
    void routing.seen('old', status('shutdown', 100));
    await settle();
    expect(doors.at(-1)).toEqual([200]);
    routing.forget('new');
    await settle();
    expect(doors.at(-1)).toEqual([]);
  });

  test('no part in the mesh any more: the table goes without it', async () => {
    const { routing, states } = meshed();
    routing.replace([entry(1)], 5, view(1));
    await settle();
    routing.replace([entry(1)], 6);
    await settle();
    expect([routing.mesh, states.at(-1)]).toEqual([undefined, undefined]);
  });

  test('tasks of a node that went silent are left out until it is back; after the end nothing is done', async () => {
    const { routing, ingress, mesh } = meshed();
    routing.replace([{ ...entry(1), backends: [backend('a'), backend('b')] }], 5, view(1));
    await settle();
    mesh.change(['b']);
    await settle();
    expect(ingress.backends('tcp/1')).toEqual(['a']);
    mesh.change([]);
    await settle();
    expect(ingress.backends('tcp/1')).toEqual(['a', 'b']);
    routing.end();
    mesh.change(['b']);
    await settle();
    expect(ingress.backends('tcp/1')).toEqual(['a', 'b']);
  });
});

describe('with overlay networks', () => {
  const view = (id: string, vni = 4096): NetworkView => ({
    ...{ id, name: id, vni, port: 4789, encrypted: false, internal: false },
    ...{ subnets: [], far: [], names: [] },
  });

  function networked(fails = 0) {
    const applied: string[][] = [];
    let failures = fails;
    const networks = {
      apply: async (views: ReadonlyMap<string, NetworkView>) => {
        applied.push([...views.values()].map(({ id, vni }) => `${id} ${vni}`));
        if (failures-- > 0) throw new Error('no device');
      },
    };
    const clock = new ManualClock();
    const told: number[] = [];
    const modules = { ingress: new FakeIngress(), networks, clock, log: silentLogger };
    const routing = new Routing({ entries: [], revision: 0 }, { ...modules, applied: (reached) => told.push(reached) });
    return { routing, applied, told, clock };
  }

  test('they are changed by what changed, and not touched by what is not about them', async () => {
    const { routing, applied, told } = networked();
    routing.replace([], 5, undefined, [view('a'), view('b')]);
    routing.change([entry(1)], [], 6);
    routing.change([], [], 7, undefined, { views: [view('a', 5000)], removed: ['b'] });
    await settle();
    expect(applied).toEqual([['a 4096', 'b 4096'], ['a 5000']]);
    expect(routing.networks.map(({ id }) => id)).toEqual(['a']);
    expect(told.at(-1)).toBe(7);
    routing.replace([], 8);
    await settle();
    expect(applied.at(-1)).toEqual([]);
  });

  test('a revision is told once they are in force', async () => {
    const { routing, applied, told, clock } = networked(1);
    routing.replace([], 5, undefined, [view('a')]);
    await settle();
    expect(told).toEqual([]);
    clock.advance(1_000);
    await settle();
    expect(applied).toHaveLength(2);
    expect(told).toEqual([5]);
  });
});
