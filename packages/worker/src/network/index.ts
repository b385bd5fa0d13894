export { createIngress, type IngressKind, type IngressModules } from './create.ts';
export { createMesh, KernelMesh, type MeshDescription, type MeshKind } from './mesh/index.ts';
export * from './types.ts';
