// What the rest of the package takes from the core.
export { decodeConfChange, encodeConfChange } from './conf-change-codec.ts';
export type { LogLevel, RawNodeConfig } from './config.ts';
export { RawNode } from './raw-node.ts';
export { isStorageError, StorageError, type StorageErrorCode } from './storage-error.ts';
export * from './types.ts';
