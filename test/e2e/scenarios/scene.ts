import { fileURLToPath } from 'node:url';
import type { Node, Task } from '@swarmctl/shared/model';
import type { Cluster, NodeHandle } from '../../kit/cluster.ts';
import type { RuntimeName, World } from '../world.ts';

// The cluster that the scenarios of a runtime share, and what all of them do with it.

export const swarmctlBin = fileURLToPath(new URL('../../../packages/cli/bin/swarmctl.js', import.meta.url));

export type Scene = ReturnType<typeof newScene>;

/** `world` is there once the suite has begun. */
export function newScene(runtime: RuntimeName, world: () => World) {
  const cluster = (): Cluster => world().cluster;
  const names = new Map<string, string>();
  const manager = () => cluster().anyManager();
  const nameOf = (task: Task) => names.get(task.ServiceID);
  return {
    runtime,
    get world(): World {
      return world();
    },
    get cluster(): Cluster {
      return cluster();
    },
    manager,
    /** Of its service, if `idOf` was asked for that. */
    nameOf,
    create: async (...args: string[]) => cluster().ctl(await manager(), ...args),
    /** Services that `idOf` was asked for. */
    remove: async (...services: string[]) => {
      await cluster().ctl(await manager(), 'service', 'rm', ...services);
      for (const name of services) {
        await cluster().eventually(`the tasks of ${name} are gone`, async () => {
          const tasks = await (await manager()).api.get<Task[]>('/tasks');
          return !tasks.some((task) => task.Spec && nameOf(task) === name);
        });
      }
    },
    idOf: async (service: string) => {
      const { ID } = await cluster().service(service);
      names.set(ID, service);
      return ID;
    },
    nodeId: async (node: NodeHandle) => {
      const nodes = await (await manager()).api.get<Node[]>('/nodes');
      return nodes.find((one) => one.Description?.Hostname === node.name)?.ID ?? '';
    },
    containers: (tasks: readonly Task[]) =>
      tasks.map((task) => `${task.ID} ${task.Status.ContainerStatus?.ContainerID}`).sort(),
    /** Two running containers in one slot, as the runtime itself sees it (docker), else as the state does. */
    doubles: async (service: string): Promise<string[]> => {
      const running = new Map<string, string[]>();
      const add = (slot: string, id: string) => running.set(slot, [...(running.get(slot) ?? []), id]);
      if (runtime === 'docker') {
        const list = await world().engine.docker.listContainers({
          filters: { label: [`com.docker.swarm.service.name=${service}`] },
        });
        for (const { Labels, Id } of list)
          add((Labels['com.docker.swarm.task.name'] ?? '').split('.').slice(0, 2).join('.'), Id);
      } else for (const { Slot, ID } of await cluster().running(service)) add(String(Slot), ID);
      return [...running].filter(([, ids]) => ids.length > 1).map(([slot]) => slot);
    },
  };
}
