export { createDockerGuests } from './docker/guests.ts';
export { createDockerNetworks } from './docker/networks.ts';
export { createDockerRuntime, type DockerRuntimeOptions } from './docker/runtime.ts';
export { createProcessRuntime, type ProcessRuntimeOptions } from './process/runtime.ts';
export * from './types.ts';
