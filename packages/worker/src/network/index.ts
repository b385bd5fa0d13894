export { createIngress, type IngressKind, type IngressModules } from './create.ts';
export * from './types.ts';
