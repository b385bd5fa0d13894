export { type ApiContext, lockedMessage } from './api/context.ts';
export { RegistryClient } from './api/registry/index.ts';
export { createApi } from './api/server.ts';
export { certify, signFor } from './ca/certify.ts';
export { newCluster, newNode } from './ca/new-cluster.ts';
export { Manager, startManager } from './manager.ts';
export type * from './manager-types.ts';
export { newRaftId } from './members.ts';
export type { View } from './store/types.ts';
