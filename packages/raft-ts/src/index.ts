// The package's door also exports, once the host is there: openRaftNode, hasLog, RaftError.
export * from './host/types.ts';
