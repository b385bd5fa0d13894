// For what cannot happen unless the core or its storage is wrong: the host must end, not go on.

/** The core found its own state, or what its storage or a peer said, impossible. */
export class RaftPanic extends Error {
  constructor(text: string) {
    super(text);
    this.name = 'RaftPanic';
  }
}

export function panic(text: string): never {
  throw new RaftPanic(text);
}
