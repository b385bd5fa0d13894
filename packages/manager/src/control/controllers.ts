import { endpointAllocator } from './allocator/endpoints.ts';
import { gatewayAllocator } from './allocator/gateways.ts';
import { meshAllocator } from './allocator/mesh.ts';
import { networkAllocator } from './allocator/networks.ts';
import { Rotation } from './allocator/rooms.ts';
import { taskAllocator } from './allocator/tasks.ts';
import { tunnelKeys } from './allocator/tunnel-keys.ts';
import { globalOrchestrator } from './global.ts';
import { jobOrchestrator } from './jobs.ts';
import { orphanSupervisor } from './orphans.ts';
import { taskReaper } from './reaper.ts';
import { serviceRemoval } from './removal.ts';
import { replicatedOrchestrator } from './replicated.ts';
import { rootRotation } from './root-rotation.ts';
import { restartSupervisor } from './supervisor.ts';
import type { Controller } from './types.ts';
import { updater } from './updater.ts';

// All that decides, in the order of asking. The updater comes before the restart supervisor, so that it sees a task fail before
// another takes its place.

/** `newTunnelKey`: 32 random bytes, base64. `newTokenSecret`: of a join token. */
export function standardControllers(
  scheduler: Controller,
  newTunnelKey: () => string,
  newTokenSecret: () => string,
): readonly Controller[] {
  const rotation = new Rotation();
  return [
    networkAllocator(),
    endpointAllocator(rotation),
    serviceRemoval(),
    replicatedOrchestrator(),
    globalOrchestrator(),
    jobOrchestrator(),
    orphanSupervisor(),
    updater(),
    restartSupervisor(),
    meshAllocator(),
    tunnelKeys(newTunnelKey),
    rootRotation(newTokenSecret),
    taskAllocator(rotation),
    gatewayAllocator(rotation),
    scheduler,
    taskReaper(),
  ];
}
