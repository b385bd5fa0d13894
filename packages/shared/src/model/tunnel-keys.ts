import type { TunnelKeys } from './objects.ts';

// The pre-shared keys of the tunnels that encrypted networks go through: one is in use, and the one after it is made known before it is used.

/** With a new key that comes next, in place of one that was not used yet. */
export function withNextKey(keys: TunnelKeys | undefined, Key: string, now: number): TunnelKeys {
  if (!keys) return { InUse: { Generation: 1, Key, MadeAt: now } };
  const { InUse, Next } = keys;
  return { InUse, Next: { Generation: (Next ?? InUse).Generation + 1, Key, MadeAt: now } };
}
