import { type Duplex, duplexPair } from 'node:stream';

// Two ends of a connection in memory. What one end destroys, the other sees closed.

export function connection(): [Duplex, Duplex] {
  const [a, b] = duplexPair();
  a.once('close', () => b.destroy());
  b.once('close', () => a.destroy());
  // A reset connection is an error on either end; here it is only its end.
  for (const end of [a, b]) end.on('error', () => undefined);
  return [a, b];
}
