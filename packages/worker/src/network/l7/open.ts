import { join } from 'node:path';
import type { Clock, Logger } from '@swarmctl/shared/kit';
import type { IngressOptions } from '../types.ts';
import { HttpIngress } from './ingress.ts';

// The ports of HTTP of a real node: certificates come from the secrets that the managers sent here.

/** Those of this node. */
export interface SecretSource {
  get(name: string): { readonly data: Uint8Array } | undefined;
  onChange(listener: () => void): () => void;
}

export function openHttpIngress(
  options: IngressOptions,
  modules: { readonly clock: Clock; readonly log: Logger; readonly secrets: SecretSource },
): HttpIngress {
  const { clock, log, secrets } = modules;
  return new HttpIngress(
    // In memory, where keys belong; it is only this user's, which is checked.
    { ...options, folder: join('/dev/shm', `swarmd-${options.nodeId}`) },
    {
      clock,
      log,
      certificates: { get: (name) => secrets.get(name)?.data, onChange: (listener) => secrets.onChange(listener) },
    },
  );
}
