// TCP as the proxy needs it: connections are accepted, opened and joined in pairs; what they carry goes from one to the other unseen.

export interface Endpoint {
  readonly addr: string;
  readonly port: number;
}

/** One end of a TCP connection, not read until it is joined. */
export interface Stream {
  /** Undefined when it is gone already. */
  remote(): Endpoint | undefined;
  local(): Endpoint | undefined;
  /** Pings it when it has been quiet for so long, so that a peer that vanished is noticed some day. */
  keepAlive(afterMs: number): void;
  /** Gives memory back, since it is quiet. */
  relax(): void;
  /** Ends it at once; what was written is still sent. */
  close(): void;
  /** Ends it with a reset. */
  reset(): void;
}

/** Hears what goes on between two joined ends. */
export interface Passage {
  /** Bytes came from the client's end (or the server's) and are on their way to the other. */
  moved(fromClient: boolean, bytes: number): void;
  /** Both ends are closed; once. */
  ended(): void;
}

export interface Listening {
  /** Accepts no more; connections are left alone. */
  close(): void;
}

export interface Opening {
  /** `done` is not called afterwards. */
  abort(): void;
}

export interface ListenOptions {
  readonly ipv6Only: boolean;
  readonly backlog: number;
  /** As `keepAlive` of each. */
  readonly keepAliveMs: number;
}

export interface ListenEvents {
  client(stream: Stream): void;
  /** A connection could not be accepted, or the listener has failed. */
  error(code: string): void;
}

export interface Streams {
  /** Rejects with the system's error. */
  listen(at: Endpoint, options: ListenOptions, events: ListenEvents): Promise<Listening>;
  /** `done` gets the open end, or the error's code; never before this returns. */
  connect(to: Endpoint, done: (stream: Stream | undefined, code: string) => void): Opening;
  /**
   * Passes data, its end and back pressure on in both directions, after `first` to the server. Either direction may end before the other; a
   * reset stays a reset. No more than one read of each direction is held here.
   */
  join(client: Stream, server: Stream, first: Buffer | undefined, passage: Passage): void;
}
