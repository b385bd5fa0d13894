export { createMesh, type MeshKind } from './create.ts';
export { type GoneCache, withoutGone } from './gone.ts';
export { KernelMesh, type MeshDescription, type MeshModules, removeMesh } from './mesh.ts';
