import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Host } from '../lab/host.ts';
import { Lab, noLab } from '../lab/lab.ts';

// A site and its database from a compose file, by Docker's own command lines and by swarmctl, on two hosts. Each sees what the other made. The
// tests share one lab and run in order.

const missing = noLab();
const name = `st${process.pid}`;
const clients = ['/usr/bin/docker', '/usr/local/bin/docker'].filter((path) => existsSync(path));

const noteOf = (client: string) => client.split('/').slice(1).join('-');

const compose = `version: "3.8"
services:
  web:
    image: web:1
    depends_on: [db]
    environment:
      UPSTREAM: http://database:8080/cgi-bin/notes
      VERSION: \${SITE_VERSION:-1}
    ports: ["8090:8080"]
    networks: [front, back]
    secrets: [pass]
    configs:
      - {source: site, target: /etc/site.conf, mode: 0440}
    deploy:
      replicas: 2
      labels: {swarmctl.drain-timeout: 1s}
      update_config: {parallelism: 2, monitor: 200ms}
      restart_policy: {condition: any, delay: 0s}
  db:
    image: web:1
    networks:
      back: {aliases: [database]}
    volumes: ["data:/data"]
    secrets: [pass]
    healthcheck:
      test: [CMD, busybox, wget, -q, -O, /dev/null, "http://127.0.0.1:8080/"]
      interval: 300ms
    deploy:
      placement: {constraints: [node.hostname==node2]}
      update_config: {monitor: 200ms}
networks:
  front: {}
  back: {driver_opts: {encrypted: "false"}}
volumes:
  data: {}
secrets:
  pass: {file: ./pass.txt}
configs:
  site: {file: ./site.conf}
`;

/** A bit of everything; its tasks run nowhere. */
const everything = `version: "3.9"
services:
  a:
    image: web:1
    command: sh -c "sleep 1"
    entrypoint: ["/serve", "x"]
    hostname: h
    user: "1000:1000"
    working_dir: /w
    init: true
    tty: true
    stdin_open: true
    read_only: true
    stop_signal: SIGINT
    stop_grace_period: 1m30s
    labels: {a: b}
    environment: {Z: "1", A: two words, E: ""}
    ports: ["8000-8002:80-82", {target: 53, published: 53, protocol: udp, mode: host}, "9000"]
    volumes:
      - /tmp:/hosttmp:ro
      - data:/data
      - named:/named:nocopy
      - {type: tmpfs, target: /t, tmpfs: {size: 1048576}}
      - {type: bind, source: /var, target: /v, read_only: true, bind: {propagation: rslave}}
    dns: [9.9.9.9]
    dns_search: example.com
    extra_hosts: ["x:10.0.0.1", "y:10.0.0.2"]
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    sysctls: {net.core.somaxconn: 9}
    ulimits: {nofile: {soft: 10, hard: 20}, nproc: 7}
    logging: {driver: json-file, options: {max-size: 1m}}
    healthcheck: {test: [CMD, "true"], interval: 5s, timeout: 2s, retries: 3, start_period: 4s}
    networks: {n1: {aliases: [one, two]}, default: }
    configs: [{source: c, target: /c, uid: "5", gid: "6", mode: 0440}]
    secrets: [s]
    deploy:
      replicas: 0
      labels: {d: e}
      endpoint_mode: vip
      placement: {constraints: [node.role==worker], preferences: [{spread: node.labels.z}], max_replicas_per_node: 2}
      resources:
        limits: {cpus: "0.5", memory: 64M, pids: 50}
        reservations: {cpus: "0.1", memory: 32M, generic_resources: [{discrete_resource_spec: {kind: ssd, value: 1}}]}
      restart_policy: {condition: on-failure, delay: 1s, max_attempts: 3, window: 10s}
      update_config: {parallelism: 2, delay: 1s, failure_action: rollback, monitor: 3s, max_failure_ratio: 0.25, order: start-first}
      rollback_config: {parallelism: 0, order: stop-first}
  b:
    image: web:1
    healthcheck: {disable: true}
    deploy: {mode: global, placement: {constraints: [node.labels.none==1]}}
  c:
    image: web:1
    restart: on-failure:4
    deploy: {replicas: 0}
networks:
  n1: {internal: true, driver: overlay, attachable: true, ipam: {config: [{subnet: 10.99.0.0/24}]}, labels: [x=y]}
volumes:
  data:
  named: {name: v-named, driver: local, driver_opts: {o: size=1m}, labels: {l: m}}
secrets:
  s: {file: ./pass.txt, labels: {q: r}}
configs:
  c: {file: ./site.conf}
`;

describe.skipIf(missing)(`stacks${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;
  let manager: Host;
  /** Where users have their compose files. */
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'swarm-stack-'));
    lab = await Lab.up({ name, nodes: 2, managers: 1 });
    manager = lab.host(1);
  }, 180_000);
  afterAll(async () => {
    await Lab.remove(name);
    rmSync(folder, { recursive: true });
  }, 60_000);
  beforeEach(() => {
    file('compose.yaml', compose);
    file('pass.txt', 'one');
    file('site.conf', 'a site');
  });

  function file(path: string, content: string): string {
    writeFileSync(join(folder, path), content);
    return join(folder, path);
  }
  const files = (...paths: string[]) => paths.flatMap((path) => ['-c', join(folder, path)]);
  const ctl = (...args: string[]) => manager.ctl('stack', ...args);
  async function docker(client: string, ...args: string[]): Promise<string> {
    const { code, out, err } = await manager.exec(client, '-H', manager.daemon.swarmdHost, 'stack', ...args);
    if (code !== 0) throw new Error(`${client} stack ${args.join(' ')}: exit ${code}: ${err}${out}`);
    return out;
  }
  /** What the first task's container says. */
  async function inside(service: string, ...command: string[]): Promise<string> {
    const [task] = await lab.tasksOf(service);
    if (!task) throw new Error(`${service} runs nowhere`);
    return (await lab.inside(task, ...command)).out.trim();
  }
  /** What the site says of its database, through any host. */
  const ask = async (query = '') =>
    (
      await lab.client.exec(
        ...['timeout', '5', 'busybox', 'wget', '-q', '-O', '-', `http://10.77.0.1:8090/cgi-bin/ask${query}`],
      )
    ).out.trim();
  const answers = (note: string, query = '') =>
    lab.eventually(`the site answers with ${note}`, async () => (await ask(query)).split('\n').includes(note));
  async function left(): Promise<string[]> {
    const label = JSON.stringify({ label: ['com.docker.stack.namespace'] });
    const lists = await Promise.all(
      ['services', 'networks', 'secrets', 'configs'].map((table) =>
        manager.api.get<unknown[]>(`/${table}`, { filters: label }),
      ),
    );
    return lists.flat().map((one) => JSON.stringify(one));
  }

  test.each(clients)('%s makes one, which swarmctl finds just as it would have made it', async (client) => {
    const made = await docker(client, 'deploy', ...files('compose.yaml'), 'shop');
    for (const one of ['network shop_front', 'secret shop_pass', 'config shop_site', 'service shop_web']) {
      expect(made).toContain(`Creating ${one}\n`);
    }
    await lab.eventually(
      'all run',
      async () => (await lab.tasksOf('shop_web')).length + (await lab.tasksOf('shop_db')).length === 3,
    );
    await answers(noteOf(client), `?${noteOf(client)}`);
    expect(await inside('shop_web', 'cat', '/run/secrets/pass', '/etc/site.conf')).toBe('onea site');
    expect(await ctl('deploy', '--dry-run', ...files('compose.yaml'), 'shop')).toBe('Nothing to do\n');
    // The same again: secrets and configs are posted once more, and nothing is replaced.
    const before = (await lab.tasksOf('shop_web')).map(({ ID }) => ID);
    await docker(client, 'deploy', '--prune', ...files('compose.yaml'), 'shop');
    expect((await lab.tasksOf('shop_web')).map(({ ID }) => ID)).toEqual(before);
    const sorted = async (...args: string[]) => (await docker(client, ...args)).trimEnd().split('\n').sort();
    const shown = await Promise.all([
      sorted('ls', '--format', '{{.Name}} {{.Services}}'),
      sorted('services', '--format', '{{.Name}} {{.Replicas}} {{.Ports}}', 'shop'),
      sorted('ps', '--format', '{{.Name}} {{.DesiredState}}', 'shop'),
      ctl('ls', '--format', '{{.Name}} {{.Services}}'),
    ]);
    expect(shown).toEqual([
      ['shop 2'],
      ['shop_db 1/1 ', 'shop_web 2/2 *:8090->8080/tcp'],
      ['shop_db.1 Running', 'shop_web.1 Running', 'shop_web.2 Running'],
      'shop 2\n',
    ]);
    expect(await docker(client, 'rm', 'shop')).toContain('Removing network shop_front\n');
    expect(await left()).toEqual([]);
  });

  test.each(clients.slice(0, 1))('%s and swarmctl come to the same with whatever a file may say', async (client) => {
    file('all.yaml', everything);
    await docker(client, 'deploy', ...files('all.yaml'), 'all');
    expect(await ctl('deploy', '--dry-run', '--prune', ...files('all.yaml'), 'all')).toBe('Nothing to do\n');
    await ctl('rm', 'all');
    expect(await left()).toEqual([]);
  });

  test('swarmctl makes one, which Docker finds; each step waits for what it depends on', async () => {
    const over = file(
      'over.yaml',
      'services: {web: {depends_on: {db: {condition: service_healthy}}, environment: {SITE_VERSION: }}}\n',
    );
    const all = files('compose.yaml', 'over.yaml');
    await expect(ctl('deploy', ...all, 'shop')).rejects.toThrow(
      `${over}:1:31: services.web.depends_on.db: service_healthy`,
    );
    const out = await ctl('deploy', '--wait', ...all, 'shop');
    expect(out.indexOf('shop_db: 1 out of 1 tasks, converged')).toBeGreaterThan(0);
    expect(out.indexOf('Creating service shop_web')).toBeGreaterThan(
      out.indexOf('shop_db: 1 out of 1 tasks, converged'),
    );
    // The volume is that of the stacks before, by whomever they were made.
    for (const client of clients) await answers(noteOf(client));
    for (const client of clients) {
      expect(await docker(client, 'services', '--format', '{{.Name}}', 'shop')).toContain('shop_web');
    }
    expect(await ctl('ps', '--format', '{{.Name}} {{.CurrentState}}', 'shop')).toMatch(/^shop_web\.2 Running/m);
  });

  test('other content of a file is a version more, and rolls who uses it, once', async () => {
    file('pass.txt', 'two');
    const dry = await ctl('deploy', '--dry-run', ...files('compose.yaml'), 'shop');
    expect(dry).toMatch(/^Would rotate secret shop_pass to shop_pass\.v2\nWould update service shop_db\n {2}~ /);
    const out = await ctl('deploy', '--wait', ...files('compose.yaml'), 'shop');
    expect(out).toContain('Rotating secret shop_pass to shop_pass.v2\n');
    expect(await inside('shop_web', 'cat', '/run/secrets/pass')).toBe('two');
    const history = await manager.api.get<Task[]>('/tasks', { filters: JSON.stringify({ service: ['shop_db'] }) });
    expect(history).toHaveLength(2);
    expect(await ctl('deploy', '--dry-run', ...files('compose.yaml'), 'shop')).toBe('Nothing to do\n');
  });

  test('one that cannot converge fails the deployment, and the others are followed to their end', async () => {
    file('pass.txt', 'two');
    file(
      'compose.yaml',
      compose.replace('image: web:1', 'image: crash:1').replace('SITE_VERSION:-1', 'SITE_VERSION:-2'),
    );
    await expect(ctl('deploy', '--wait', ...files('compose.yaml'), 'shop')).rejects.toThrow(
      /exit 1: .*service shop_web: (?:service update paused|\d+ tasks failed): .*\n.*shop_db: 1 out of 1 tasks, converged/s,
    );
  });

  test('nothing is written when something is wrong', async () => {
    file('pass.txt', 'three');
    file('compose.yaml', compose.replace('front: {}', 'front: {external: true}'));
    const before = await left();
    await expect(ctl('deploy', ...files('compose.yaml'), 'shop')).rejects.toThrow(
      /compose\.yaml:32:3: networks\.front: there is no network front, which is external/,
    );
    expect(await left()).toEqual(before);
  });

  test('pruning removes what the file no longer has; rm removes the rest', async () => {
    file('pass.txt', 'two');
    const [, db = ''] = compose.split('  db:\n');
    file('compose.yaml', `services:\n  db:\n${db.replace(/configs:\n[\s\S]*$/, '').replace('  front: {}\n', '')}`);
    const out = await ctl('deploy', '--prune', ...files('compose.yaml'), 'shop');
    for (const one of ['service shop_web', 'config shop_site', 'network shop_front'])
      expect(out).toContain(`Removing ${one}\n`);
    expect(out).not.toMatch(/Removing (secret|network shop_back)/);
    await ctl('rm', '--wait', 'shop');
    expect(await left()).toEqual([]);
  });
});
