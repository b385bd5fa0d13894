import { messageOf, realClock, realRandom, silentLogger } from '@swarmctl/shared/kit';
import type { Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import Docker from 'dockerode';
import { NameResolver } from '../../network/dns/resolver.ts';
import { NodeOverlay } from '../../network/overlay/overlay.ts';
import { ContainerVips } from '../../network/vip/vip.ts';
import type { RuntimeNode } from '../types.ts';
import { containerConfig } from './container-config.ts';
import { connectOthers, createDockerNetworks } from './networks.ts';

// For tests: a node's overlay networks, names and virtual addresses with a real engine, as a program for the node's own network namespace, told over
// IPC what to do.

export interface NodeOptions {
  readonly node: RuntimeNode;
  readonly socket: string;
}

const { node, socket } = JSON.parse(process.argv[2] ?? '') as NodeOptions;
const modules = { log: silentLogger, clock: realClock, random: realRandom };
const docker = new Docker({ socketPath: socket });
const engine = createDockerNetworks({ dockerHost: `unix://${socket}` }, node);
const resolver = new NameResolver({ ...modules, upstreams: async () => [] });
const overlay = new NodeOverlay({ nodeId: node.nodeId, dataPathAddr: node.addr }, { ...modules, engine, resolver });
const vips = new ContainerVips(modules);

const verbs: Record<string, (argument: never) => Promise<unknown>> = {
  async apply(list: readonly NetworkView[]) {
    const begun = performance.now();
    const views = new Map(list.map((view) => [view.id, view]));
    resolver.set(views);
    await Promise.all([overlay.apply(views), vips.apply(views)]);
    return performance.now() - begun;
  },

  async start(task: Task) {
    const endpoints = await overlay.attach(task);
    const container = await docker.createContainer(containerConfig(task, node, endpoints));
    await connectOthers(docker, container.id, endpoints);
    // As when it is tried again.
    await connectOthers(docker, container.id, endpoints);
    await container.start();
    const info = await container.inspect();
    const networks = (task.NetworksAttachments ?? []).map(({ Network }) => Network.ID);
    await vips.started(task.ID, info.State.Pid, networks);
    return info;
  },

  async remove(taskId: string) {
    const [found] = await docker.listContainers({
      all: true,
      filters: JSON.stringify({ label: [`com.docker.swarm.task.id=${taskId}`] }),
    });
    if (found) await docker.getContainer(found.Id).remove({ force: true, v: true });
    overlay.detached(taskId);
    vips.ended(taskId);
  },

  sweep: () => overlay.sweep(),
  problems: async () => [...overlay.problems(), ...vips.problems()],
};

process.on('message', ({ id, verb, argument }: { id: number; verb: string; argument: never }) => {
  const work = Promise.resolve().then(() => verbs[verb]?.(argument));
  work.then(
    (value) => process.send?.({ id, value }),
    (error) => process.send?.({ id, error: messageOf(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
process.send?.({ id: 0 });
