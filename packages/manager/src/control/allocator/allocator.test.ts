import type { PortConfig, Service } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aCluster, aService, aStore, aTask, type ServiceWords } from '../../../../../test/kit/index.ts';
import { apply, decide, settleState } from '../../../../../test/sim/control/decide.ts';
import { endpointAllocator } from './endpoints.ts';
import { allocateEndpoint, portConflict } from './ports.ts';
import { taskAllocator } from './tasks.ts';

const port = (TargetPort: number, PublishedPort?: number, more: Partial<PortConfig> = {}): PortConfig => ({
  Protocol: 'tcp',
  PublishMode: 'ingress',
  TargetPort,
  ...(PublishedPort !== undefined && { PublishedPort }),
  ...more,
});

/** A service as the API stores it: nothing is allocated yet. */
const fresh = (id: string, ports?: PortConfig[], words: ServiceWords = {}): Service =>
  aService({ id, name: id, ...words, ...(ports && { ports }), set: { Endpoint: { Spec: {} } } });

const published = (service: Service | undefined) =>
  service?.Endpoint.Ports?.map((one) => `${one.PublishMode} ${one.Protocol} ${one.TargetPort} ${one.PublishedPort}`);

describe('endpoints', () => {
  const allocated = (...services: Service[]) => {
    const store = aStore({ services });
    settleState(store, [endpointAllocator()]);
    return (id: string) => published(store.view().get('services', id));
  };

  it('gives the lowest free dynamic ports, each once', () => {
    const of = allocated(fresh('a', [port(80), port(81)]), fresh('b', [port(80)]), fresh('c', [port(80, 30_003)]));
    expect(of('a')).toEqual(['ingress tcp 80 30000', 'ingress tcp 81 30001']);
    expect(of('b')).toEqual(['ingress tcp 80 30002']);
    expect(of('c')).toEqual(['ingress tcp 80 30003']);
  });

  it('goes around a port that the same service asks for', () => {
    expect(allocated(fresh('a', [port(80), port(81, 30_000)]))('a')).toEqual([
      'ingress tcp 80 30001',
      'ingress tcp 81 30000',
    ]);
  });

  it('keeps protocols apart, and host ports as they are', () => {
    const ports = [
      port(53),
      port(53, undefined, { Protocol: 'udp' }),
      port(80, 8080, { PublishMode: 'host' }),
      port(81, undefined, { PublishMode: 'host' }),
    ];
    expect(allocated(fresh('a', ports))('a')).toEqual([
      'ingress tcp 53 30000',
      'ingress udp 53 30000',
      'host tcp 80 8080',
      'host tcp 81 0',
    ]);
  });

  it('keeps a dynamic port over changes of the rest', () => {
    const before = fresh('a', [port(80), port(81)]);
    const Endpoint = { Spec: { Ports: [port(81)] }, Ports: [port(81, 30_007)] };
    const store = aStore({ services: [{ ...before, Endpoint }] });
    settleState(store, [endpointAllocator()]);
    expect(published(store.view().get('services', 'a'))).toEqual(['ingress tcp 80 30000', 'ingress tcp 81 30007']);
  });

  it('has no ports for a service that publishes none, and takes back those that it had', () => {
    const Endpoint = { Spec: { Ports: [port(81)] }, Ports: [port(81, 30_007)] };
    const store = aStore({ services: [aService({ id: 'a', set: { Endpoint } })] });
    settleState(store, [endpointAllocator()]);
    expect(store.view().get('services', 'a')?.Endpoint).toEqual({ Spec: {} });
  });

  it('lets a service wait for a port that is taken, and gives it when it comes free', () => {
    const controllers = [endpointAllocator(), taskAllocator()];
    const second = fresh('b', [port(80, 80)]);
    const task = aTask({ id: 't', service: second, state: 'new' });
    const store = aStore({ services: [fresh('a', [port(80, 80)]), second], tasks: [task] });
    settleState(store, controllers);
    expect(store.view().get('services', 'b')?.Endpoint).toEqual({ Spec: {} });
    expect(store.view().get('tasks', 't')?.Status).toMatchObject({
      State: 'new',
      Err: "port '80' is already in use by service 'a' (a) as an ingress port",
    });
    const before = store.view().get('services', 'a') as Service;
    apply(store, [{ op: 'remove', table: 'services', id: 'a' }]);
    const event = { table: 'services', op: 'remove', id: 'a', index: 9, before } as const;
    expect(controllers[0]?.marks(event, store.view())).toContain('b');
    settleState(store, controllers);
    expect(published(store.view().get('services', 'b'))).toEqual(['ingress tcp 80 80']);
    expect(store.view().get('tasks', 't')?.Status.Err).toBeUndefined();
    expect(store.view().get('tasks', 't')?.Status.State).toBe('pending');
  });

  it('says when no dynamic port is left', () => {
    const all = Array.from({ length: 2768 }, (_, i) => port(i + 1, 30_000 + i));
    const full = aService({ id: 'a', ports: all });
    const store = aStore({ services: [full, fresh('b', [port(80)])] });
    expect(allocateEndpoint(store.view(), fresh('b', [port(80)]))).toEqual({
      ok: false,
      conflict: 'no dynamic port from 30000 to 32767 is free',
    });
  });
});

describe('tasks', () => {
  it('get the ports of their service and go on to the scheduler', () => {
    const service = aService({ id: 's', ports: [port(80, 80)] });
    const store = aStore({ services: [service], tasks: [aTask({ id: 't', service, state: 'new' })] });
    settleState(store, [taskAllocator()]);
    expect(store.view().get('tasks', 't')).toMatchObject({
      Ports: [port(80, 80)],
      Status: { State: 'pending', Message: 'pending task scheduling' },
    });
  });

  it('wait until the endpoint is that of the present spec', () => {
    const service = fresh('s', [port(80, 80)]);
    const store = aStore({ services: [service], tasks: [aTask({ id: 't', service, state: 'new' })] });
    expect(decide(taskAllocator(), store, 's').changes).toEqual([]);
  });

  it('keep the ports that they come back with', () => {
    const service = fresh('s', [port(80, 80)]);
    const task = aTask({ id: 't', service, state: 'new', set: { Ports: [port(81, 81)] } });
    const store = aStore({ services: [service], tasks: [task] });
    settleState(store, [taskAllocator()]);
    expect(store.view().get('tasks', 't')).toMatchObject({ Ports: [port(81, 81)], Status: { State: 'pending' } });
  });

  it('are left alone when they are given up or further on', () => {
    const service = aService({ id: 's' });
    const tasks = [
      aTask({ id: 'a', service, state: 'new', desired: 'shutdown' }),
      aTask({ id: 'b', service, state: 'pending' }),
    ];
    const store = aStore({ services: [service], tasks });
    for (const id of ['s', 'none']) expect(decide(taskAllocator(), store, id).changes).toEqual([]);
  });
});

describe('portConflict', () => {
  const store = aStore({
    services: [
      aService({ id: 'ID1', name: 'p1', ports: [port(80, 18_080)] }),
      aService({ id: 'ID2', name: 'p2', ports: [port(80, 9_000, { PublishMode: 'host' })] }),
      aService({ id: 'ID3', name: 'p3', set: { Endpoint: { Spec: {}, Ports: [port(80, 30_000)] } } }),
    ],
  });
  it.each<[string, PortConfig, string | undefined]>([
    [
      'an ingress port taken',
      port(80, 18_080),
      "port '18080' is already in use by service 'p1' (ID1) as an ingress port",
    ],
    [
      'a host port on it',
      port(80, 18_080, { PublishMode: 'host' }),
      "port '18080' is already in use by service 'p1' (ID1) as an ingress port",
    ],
    [
      'a host port in the way',
      port(80, 9_000),
      "port '9000' is already in use by service 'p2' (ID2) as a host-published port",
    ],
    ['two host ports', port(80, 9_000, { PublishMode: 'host' }), undefined],
    [
      'a dynamic port that was given',
      port(80, 30_000),
      "port '30000' is already in use by service 'p3' (ID3) as an ingress port",
    ],
    ['another protocol', port(80, 18_080, { Protocol: 'udp' }), undefined],
    ['no wish', port(80), undefined],
  ])('%s', (_, wish, message) => {
    expect(portConflict(store.view(), { EndpointSpec: { Ports: [wish] } })).toBe(message);
  });

  it('keeps a port to one service, also where labels bind it to addresses, and says so', () => {
    const bound = (address: string, EndpointSpec = { Ports: [port(80, 18_080)] }) => ({
      EndpointSpec,
      Labels: { 'swarmctl.ingress.address.18080/tcp': address },
    });
    const taken = "port '18080' is already in use by service 'p1' (ID1) as an ingress port";
    expect(portConflict(store.view(), bound('10.0.0.5'))).toBe(
      `${taken}; a port is one service's, on whatever addresses`,
    );
    expect(portConflict(store.view(), bound('10.0.0.5', { Ports: [port(80, 18_081)] }))).toBeUndefined();
    const other = aStore({
      services: [aService({ id: 'ID1', name: 'p1', labels: bound('10.0.0.5').Labels, ports: [port(80, 18_080)] })],
    });
    expect(portConflict(other.view(), { EndpointSpec: { Ports: [port(80, 18_080)] } })).toMatch(
      /on whatever addresses$/,
    );
  });

  it('has services share a port of HTTP unless one has the route of another', () => {
    const routed = (route: string, more: Record<string, string> = {}, number = 443) => ({
      EndpointSpec: { Ports: [port(8080, number)] },
      Labels: { 'swarmctl.http.route': route, ...more },
    });
    const address = (value: string) => ({ 'swarmctl.ingress.address': value });
    const { Labels } = routed('a.example.com,b.example.com/api', address('10.0.0.1'));
    const web = aService({ id: 'ID1', name: 'web', labels: Labels, ports: [port(80, 443)] });
    const shared = aStore({ services: [web, aService({ id: 'ID2', name: 'plain', ports: [port(80, 444)] })] });
    const conflict = (spec: Parameters<typeof portConflict>[1]) => portConflict(shared.view(), spec);
    expect(conflict(routed('a.example.com/api,b.example.com,*'))).toBeUndefined();
    expect(conflict(routed('c.example.com,B.example.com/api/'))).toBe(
      "route 'b.example.com/api' of port '443' is already in use by service 'web' (ID1)",
    );
    expect(conflict(routed('a.example.com', address('10.0.0.2')))).toBeUndefined();
    expect(conflict(routed('a.example.com', address('10.0.0.2,10.0.0.1')))).toMatch(/^route 'a.example.com' of port/);
    const alone = 'a port is shared by services that all have the label swarmctl.http.route for it, and';
    expect(conflict({ EndpointSpec: { Ports: [port(80, 443)] } })).toBe(
      `port '443' is already in use by service 'web' (ID1) as an ingress port; ${alone} service 'web' (ID1) has such`,
    );
    expect(conflict(routed('x', {}, 444))).toBe(
      `port '444' is already in use by service 'plain' (ID2) as an ingress port; ${alone} service 'plain' (ID2) has no such`,
    );
    expect(conflict({ EndpointSpec: { Ports: [port(80, 443, { PublishMode: 'host' })] } })).toMatch(/^port '443' is/);
    // What was accepted at the same time elsewhere.
    const given = ({ EndpointSpec, Labels }: ReturnType<typeof routed>) => {
      const words = { id: 'ID3', ports: EndpointSpec.Ports, labels: Labels, set: { Endpoint: { Spec: {} } } };
      return allocateEndpoint(shared.view(), aService(words));
    };
    expect(given(routed('c.example.com'))).toMatchObject({ ok: true, endpoint: { Ports: [{ PublishedPort: 443 }] } });
    expect(given(routed('a.example.com'))).toMatchObject({ ok: false, conflict: expect.stringMatching(/^route/) });
  });

  it('does not hold a service against itself', () => {
    expect(portConflict(store.view(), { EndpointSpec: { Ports: [port(80, 18_080)] } }, 'ID1')).toBeUndefined();
    expect(portConflict(store.view(), {})).toBeUndefined();
  });
});

describe('the log driver of the cluster', () => {
  const LogDriver = { Name: 'syslog', Options: { tag: 'x' } };
  const cluster = aCluster();
  const Spec = { ...cluster.Spec, TaskDefaults: { LogDriver } };

  it.each<[string, ServiceWords, object | undefined]>([
    ['of a spec that names none', {}, LogDriver],
    ['beside one of the spec', { logDriver: 'local' }, undefined],
    ['of processes', { labels: { 'swarmctl.runtime': 'process' } }, undefined],
  ])('%s', (_, words, wanted) => {
    const service = aService({ id: 'a', ...words });
    const store = aStore({
      cluster: { ...cluster, Spec },
      services: [service],
      tasks: [aTask({ id: 't', service, state: 'new' })],
    });
    settleState(store, [taskAllocator()]);
    expect(store.view().get('tasks', 't')).toMatchObject({ Status: { State: 'pending' } });
    expect(store.view().get('tasks', 't')?.LogDriver).toEqual(wanted);
  });
});
