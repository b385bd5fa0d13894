// Time as the host sees it: handed in, so that tests can turn it.

export interface HostClock {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Calls until the returned function is called. */
  every(ms: number, callback: () => void): () => void;
  /** Calls once, unless the returned function is called before. */
  after(ms: number, callback: () => void): () => void;
  /** Once what is pending on the event loop has had its turn. */
  soon(callback: () => void): void;
}

export const realClock: HostClock = {
  now: () => performance.now(),
  every: (ms, callback) => {
    const timer = setInterval(callback, ms);
    return () => clearInterval(timer);
  },
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  soon: (callback) => {
    setImmediate(callback);
  },
};
