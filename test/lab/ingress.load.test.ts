import { setTimeout as sleep } from 'node:timers/promises';
import type { Service } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from './host.ts';
import { Lab, noLab } from './lab.ts';
import { Load, LoadServices, type Mix, type Outcome, report } from './traffic.ts';

// Nothing is dropped: whatever is done to a service and its nodes on purpose, clients that talk to it through every node do not notice. And when a
// host dies, only what was under way to it does. The tests share one lab and one service and run in order; each leaves both whole. `LOAD_SCALE=1`
// is the full load, which wants a quiet machine; `LAB_FLAGS` go to every swarmd.

const missing = noLab();
const name = `i${process.pid}`;

const transferMs = 4_000;
const scale = Number(process.env['LOAD_SCALE'] ?? 0.2);
const fullLoad = {
  rate: 500 * scale,
  kept: Math.ceil(200 * scale),
  transfers: Math.ceil(50 * scale),
  udp: 0,
  transferMs,
};
const flags = (process.env['LAB_FLAGS'] ?? '').split(' ').filter(Boolean);
const drainMs = 8_000;
const replicas = 4;

/** So long after the death of a host no new connection goes there. */
const hostLossMs = 2_000;
const healthEveryMs = 1_000;
/** From the unhealthy probe to the last node's table. */
const routeMs = 1_000;

describe.skipIf(missing)(`traffic through three hosts${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;
  let services: LoadServices;
  const port = 8080;

  beforeAll(async () => {
    lab = await Lab.up({ name, nodes: 3, managers: 3, flags });
    services = new LoadServices(lab);
    await create('web', port, replicas);
  }, 180_000);
  afterAll(async () => {
    await Lab.remove(name);
  }, 60_000);

  const api = () => services.api;
  const create = (service: string, published: number, count: number, ...flags: string[]) =>
    services.create(service, published, count, drainMs, ...flags);
  const running = (service = 'web') => services.running(service);
  const settled = (count = replicas, service = 'web') => services.settled(service, count);
  const ready = () =>
    lab.eventually('all nodes are ready', async () => {
      const nodes = await lab.nodes();
      return (
        nodes.every(({ Status }) => Status.State === 'ready') &&
        nodes.filter(({ ManagerStatus }) => ManagerStatus?.Reachability === 'reachable').length === 3
      );
    });
  const leader = async () => {
    const id = (await lab.nodes()).find(({ ManagerStatus }) => ManagerStatus?.Leader)?.Description?.Hostname;
    const host = lab.hosts.find((one) => one.name === id);
    if (!host) throw new Error('nobody leads');
    return host;
  };

  /** What clients notice while `act` is done. */
  async function under(act: () => Promise<unknown>, mix: Mix = fullLoad, hosts: readonly Host[] = lab.hosts) {
    const load = new Load(lab, port, mix, hosts);
    let outcome: Outcome;
    try {
      await sleep(transferMs / 2);
      await act();
      await sleep(transferMs / 2);
    } finally {
      outcome = await load.stop();
    }
    report(outcome);
    return outcome;
  }

  const unharmed = async (act: () => Promise<unknown>) => {
    const outcome = await under(act);
    expect(outcome.failures.slice(0, 3), `${outcome.failures.length} failures`).toEqual([]);
    for (const kind of ['new', 'kept', 'transfer'] as const) {
      expect(outcome[kind].sent, kind).toBeGreaterThan(0);
      expect(outcome[kind].ok, kind).toBe(outcome[kind].sent);
    }
    return outcome;
  };

  test('nothing fails while nothing is done', async () => {
    const outcome = await unharmed(() => sleep(2_000));
    expect(Object.keys(outcome.tasks).sort()).toEqual((await running()).map(({ ID }) => ID).sort());
  }, 60_000);

  test.each([
    ['stop-first', 2],
    ['start-first', 3],
  ] as const)(
    'a %s update',
    async (order, version) => {
      const outcome = await unharmed(async () => {
        await api().ctl(
          ...['service', 'update', '--quiet', '--update-order', order, '--update-parallelism', '2'],
          ...['--update-monitor', '500ms', '--env-add', `VERSION=${version}`, 'web'],
        );
        await settled();
      });
      expect(new Set(Object.values(outcome.tasks).map((task) => task.version))).toEqual(
        new Set([String(version - 1), String(version)]),
      );
      expect((await api().api.get<Service>('/services/web')).UpdateStatus?.State).toBe('completed');
    },
    180_000,
  );

  test('scale down and up', async () => {
    await unharmed(async () => {
      await api().ctl('service', 'scale', '-d', 'web=2');
      await settled(2);
      await api().ctl('service', 'scale', '-d', `web=${replicas}`);
      await settled();
    });
  }, 120_000);

  test('scale down with requests by UDP', async () => {
    await create('ask', 8083, 2);
    await settled(2, 'ask');
    const load = new Load(
      lab,
      8083,
      { rate: 0, kept: 0, transfers: 0, udp: Math.max(40, 100 * scale), transferMs },
      lab.hosts,
    );
    await sleep(1_000);
    await api().ctl('service', 'scale', '-d', 'ask=1');
    await settled(1, 'ask');
    const outcome = await load.stop();
    await api().ctl('service', 'rm', 'ask');
    report(outcome);
    expect(outcome.udp.sent).toBeGreaterThan(0);
    expect(outcome.udp.ok).toBe(outcome.udp.sent);
  }, 120_000);

  test('drain of a node', async () => {
    const id = (await lab.nodeOf(3))?.ID;
    await unharmed(async () => {
      await api().ctl('node', 'update', '--availability', 'drain', 'node3');
      await lab.eventually('the node is empty', async () => !(await running()).some(({ NodeID }) => NodeID === id));
      await settled();
    });
    await api().ctl('node', 'update', '--availability', 'active', 'node3');
    await spread();
  }, 120_000);

  /** Each node has a task again. */
  const spread = async () => {
    const nodes = async () => new Set((await running()).map(({ NodeID }) => NodeID)).size;
    if ((await nodes()) === lab.hosts.length) return;
    // New tasks go where there are fewest.
    for (const count of [1, replicas]) {
      await api().ctl('service', 'scale', '-d', `web=${count}`);
      await settled(count);
    }
    expect(await nodes()).toBe(lab.hosts.length);
  };

  const stop = async (host: Host) => {
    const { pid } = host.daemon;
    if (pid === undefined) throw new Error(`no swarmd runs on ${host.name}`);
    process.kill(pid, 'SIGTERM');
    await lab.eventually(`swarmd of ${host.name} has stopped`, () => host.daemon.pid === undefined);
  };
  const idsOf = async () => (await running()).map(({ ID }) => ID).sort();

  test('an upgrade: swarmd of each host is stopped and started again, in turn', async () => {
    const before = await idsOf();
    await unharmed(async () => {
      for (const host of lab.hosts) {
        await stop(host);
        await sleep(1_000);
        await lab.start(host.number);
        await ready();
      }
    });
    expect(await idsOf()).toEqual(before);
  }, 180_000);

  test('a stop of swarmd on a node that does not lead, for longer than silence is forgiven', async () => {
    const before = await idsOf();
    const first = await leader();
    const follower = lab.hosts.find((host) => host !== first) ?? first;
    await unharmed(async () => {
      await stop(follower);
      await sleep(6_000);
      await lab.start(follower.number);
      await ready();
    });
    expect(await idsOf()).toEqual(before);
  }, 120_000);

  test('kill -9 of swarmd on a node that does not lead, and its start', async () => {
    const first = await leader();
    const follower = lab.hosts.find((host) => host !== first) ?? first;
    await unharmed(async () => {
      await follower.daemon.kill();
      await lab.start(follower.number);
      await ready();
      // Where that takes longer than the managers' patience, its tasks have moved.
      await settled();
    });
  }, 120_000);

  test('a change of the leader by kill -9', async () => {
    const old = await leader();
    await unharmed(async () => {
      await old.daemon.kill();
      await lab.eventually('another leads', async () => (await leader()) !== old);
      await lab.start(old.number);
      await ready();
      await settled();
    });
  }, 120_000);

  test('unhealthy tasks leave within one probe', async () => {
    const check = `busybox wget -q -O /dev/null http://127.0.0.1:8080/health`;
    await create(
      'sick',
      8081,
      2,
      ...['--health-cmd', check, '--health-interval', `${healthEveryMs}ms`, '--health-retries', '1'],
    );
    await settled(2, 'sick');
    const load = new Load(lab, 8081, { ...fullLoad, kept: 0, transfers: 0 }, lab.hosts);
    await sleep(1_000);
    const [victim] = await running('sick');
    if (!victim) throw new Error('no task runs');
    const id = victim.Status.ContainerStatus?.ContainerID ?? '';
    const host = await lab.hostOf(victim);
    const { NetworkSettings } = await host.engine.docker.getContainer(id).inspect();
    const sickAt = Date.now();
    await host.exec(
      'busybox',
      'wget',
      '-q',
      '-O',
      '-',
      `http://${Object.values(NetworkSettings.Networks)[0]?.IPAddress}:8080/sick`,
    );
    await lab.eventually('it is given up', async () => !(await running('sick')).some(({ ID }) => ID === victim.ID));
    await sleep(1_000);
    const outcome = await load.stop();
    report(outcome);
    const left = (outcome.tasks[victim.ID]?.lastConnectedAt ?? 0) - sickAt;
    console.log(`the last connection to the unhealthy task: ${left} ms after it fell ill`);
    expect(left).toBeLessThan(healthEveryMs + routeMs);
    // It is stopped at once, so a node that does not know yet is refused; no longer than that.
    const failed = outcome.failures.map(({ startedAt }) => startedAt - sickAt);
    expect(Math.max(0, ...failed)).toBeLessThan(healthEveryMs + routeMs);
    await api().ctl('service', 'rm', 'sick');
  }, 120_000);

  test('what outlasts the drain is cut, not left hanging', async () => {
    const downloadMs = 10 * drainMs;
    await create('long', 8082, 1, '--stop-grace-period', '1s');
    await settled(1, 'long');
    const load = new Load(lab, 8082, { rate: 0, kept: 0, transfers: 6, udp: 0, transferMs: downloadMs }, lab.hosts);
    await sleep(downloadMs / 8);
    const stoppedAt = Date.now();
    await api().ctl('service', 'rm', 'long');
    const outcome = await load.stop();
    report(outcome);
    const cut = outcome.failures.filter(({ connectedAt }) => connectedAt < stoppedAt);
    expect(cut).toHaveLength(6);
    for (const { failedAt, error } of cut) {
      expect(error).toMatch(/^cut after/);
      expect(failedAt - stoppedAt).toBeGreaterThan(drainMs - 500);
      expect(failedAt - stoppedAt).toBeLessThan(drainMs + 5_000);
    }
  }, 120_000);

  test.each([
    ['a host that does not lead', false],
    ['the host that leads', true],
  ] as const)(
    'the death of %s harms only what was under way to it',
    async (_, leads) => {
      await spread();
      const first = await leader();
      const dead = lab.hosts.findLast((host) => (host === first) === leads) ?? first;
      const id = (await lab.nodeOf(dead.number))?.ID;
      const lost = (await running()).filter(({ NodeID }) => NodeID === id).map(({ ID }) => ID);
      expect(lost.length).toBeGreaterThan(0);
      let diedAt = 0;
      const outcome = await under(
        async () => {
          diedAt = Date.now();
          await lab.kill(dead.number);
          await lab.eventually('its tasks run elsewhere', async () => {
            const now = await running();
            return now.length === replicas && !now.some(({ ID }) => lost.includes(ID));
          });
          await sleep(3_000);
        },
        fullLoad,
        lab.hosts.filter((host) => host !== dead),
      );
      const after = outcome.failures.map(({ connectedAt }) => connectedAt - diedAt);
      console.log(
        `${after.length} failed; the last connection that did began ${Math.max(...after)} ms after the death`,
      );
      expect(Math.max(...after)).toBeLessThan(hostLossMs);
      // Whoever had talked to a task that lives was not harmed.
      const wronged = outcome.failures.filter(({ task }) => task !== undefined && !lost.includes(task));
      expect(wronged.slice(0, 3)).toEqual([]);
      await lab.start(dead.number);
      await ready();
    },
    180_000,
  );
});
