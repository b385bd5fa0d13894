// What the rest of the package takes from the core.
export { RaftPanic } from './assert.ts';
export { decodeConfChange, encodeConfChange } from './conf-change-codec.ts';
export type { LogLevel, RawNodeConfig } from './config.ts';
export { entriesSize, entrySize, limitSize } from './entry-size.ts';
export { MemoryStorage } from './memory-storage.ts';
export { isEmptyHardState, isLocalTarget, message } from './message.ts';
export { RawNode } from './raw-node.ts';
export { isStorageError, StorageError, type StorageErrorCode } from './storage-error.ts';
export * from './types.ts';
