export { RegistryClient } from './client.ts';
export { type Pinned, pinned } from './pin.ts';
export { authIn, nextPullAuth } from './pull-auth.ts';
export { registryRoutes } from './routes.ts';
