import type { Service, Task } from '@swarmctl/shared/model';
import { Cluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';
import { DockerSwarm, Hosts, type Hosts as HostsType } from './engines.ts';
import { median, print, spread, timed } from './stats.ts';

// `npm run bench:converge [-- ROUNDS]`: from `service create --replicas N` until all N run, on five engines, by turns with Docker's own swarm mode on the
// same engines. Both are asked through their API, in the same way: create, then poll the tasks; seldom enough
// that the polling itself does not count.

const rounds = Number(process.argv[2] ?? 3);
const sizes = [3, 10, 50];
const results = new Map(sizes.map((size) => [size, { ours: [] as number[], docker: [] as number[] }]));

const hosts = await Hosts.make(5);
try {
  for (let round = 1; round <= rounds; round++) {
    await oursOn(hosts);
    await dockerOn(hosts);
    print(`round ${round} of ${rounds} done`);
  }
} finally {
  await hosts.stop();
}

async function oursOn({ hosts: list }: HostsType): Promise<void> {
  const cluster = await Cluster.form({
    runtime: 'docker',
    managers: 3,
    workers: 2,
    hosts: list.map((host) => ({ ...host, dockerHost: host.engine.dockerHost })),
  });
  try {
    const api = (await cluster.leader()).api;
    for (const size of sizes) {
      results.get(size)?.ours.push(
        await timed(async () => {
          const { ID } = await api.post<{ ID: string }>('/services/create', specOf(size));
          await until(
            `${size} tasks run`,
            async () =>
              runningOf(await api.get<Task[]>('/tasks', { filters: JSON.stringify({ service: [ID] }) })) === size,
          );
        }),
      );
      for (const service of await api.get<Service[]>('/services')) await api.delete(`/services/${service.ID}`);
      await until('no task is left', async () => (await api.get<Task[]>('/tasks')).length === 0);
    }
  } finally {
    await cluster.stop();
    for (const host of list) await removeContainers(host.engine.docker);
  }
}

async function dockerOn({ hosts: list }: HostsType): Promise<void> {
  const swarm = new DockerSwarm(list);
  swarm.form(3);
  try {
    const docker = swarm.first.engine.docker;
    for (const size of sizes) {
      results.get(size)?.docker.push(
        await timed(async () => {
          const { id, ID } = (await docker.createService(specOf(size) as never)) as unknown as {
            id?: string;
            ID?: string;
          };
          await until(
            `${size} tasks run`,
            async () =>
              runningOf((await docker.listTasks({ filters: JSON.stringify({ service: [id ?? ID] }) })) as Task[]) ===
              size,
          );
        }),
      );
      for (const service of await docker.listServices()) await docker.getService(service.ID).remove();
      await until(
        'no container is left',
        async () =>
          (await Promise.all(list.map((host) => host.engine.docker.listContainers({ all: true })))).flat().length === 0,
      );
    }
  } finally {
    swarm.dissolve();
  }
}

function specOf(replicas: number) {
  return {
    Name: `bench-${replicas}`,
    Mode: { Replicated: { Replicas: replicas } },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'bb:1',
        Args: ['/bin/sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done'],
      },
    },
  };
}

function runningOf(tasks: readonly Task[]): number {
  return tasks.filter((task) => task.Status.State === 'running').length;
}

const until = (what: string, check: () => Promise<boolean>) =>
  eventually(what, check, { timeoutMs: 120_000, everyMs: 50 });

async function removeContainers(docker: import('dockerode')): Promise<void> {
  for (const { Id } of await docker.listContainers({ all: true }))
    await docker.getContainer(Id).remove({ force: true });
}

let worst = 0;
print(
  '\nreplicas   this cluster                                   Docker Swarm                                   ratio of medians',
);
for (const [size, { ours, docker }] of results) {
  const ratio = median(ours) / median(docker);
  worst = Math.max(worst, ratio);
  print(`${String(size).padEnd(10)} ${spread(ours).padEnd(46)} ${spread(docker).padEnd(46)} ${ratio.toFixed(2)}`);
}
print(`largest ratio ${worst.toFixed(2)} (limit 1)`);
process.exit(worst <= 1 ? 0 : 1);
