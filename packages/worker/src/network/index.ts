export { createIngress, type IngressKind, type IngressModules } from './create.ts';
export { describeIngress } from './describe-ingress.ts';
export { openHttpIngress, type SecretSource } from './l7/open.ts';
export { WithHttp } from './l7/with-http.ts';
export { createMesh, KernelMesh, type MeshDescription, type MeshKind } from './mesh/index.ts';
export { createNetworks, type NodeNetworks, type TaskNetworks } from './node-networks.ts';
export { PathMtus } from './path-mtu.ts';
export * from './types.ts';
export { NodeTunnel } from './wireguard/tunnel.ts';
