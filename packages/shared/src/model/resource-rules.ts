import { ClusterError } from '../kit/errors.ts';
import type { TaskSpec } from './specs.ts';

// What a task may reserve, and be limited to.

const invalid = (message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);

const minimumMemory = 4 * 1024 * 1024;

/** Throws ClusterError, in Docker's words where it has any. */
export function checkResources(template: TaskSpec): void {
  const { Limits: limits, Reservations: reservations, SwapBytes: swap, MemorySwappiness } = template.Resources ?? {};
  if (swap !== undefined && swap < -1) throw invalid(`Resources: SwapBytes must be -1, 0 or more, not ${swap}`);
  if (swap && swap > 0 && !limits?.MemoryBytes) throw invalid('Resources: SwapBytes needs Limits.MemoryBytes as well');
  if (MemorySwappiness !== undefined && (MemorySwappiness < -1 || MemorySwappiness > 100))
    throw invalid(`Resources: MemorySwappiness must be from 0 to 100, or -1, not ${MemorySwappiness}`);
  for (const { DiscreteResourceSpec: discrete, NamedResourceSpec: named } of reservations?.GenericResources ?? []) {
    const isRight = discrete ? discrete.Kind && (discrete.Value ?? 0) >= 1 : named?.Kind && named.Value;
    if (!isRight)
      throw invalid(
        `invalid argument for resource ${discrete?.Kind ?? named?.Kind ?? ''}: a reservation is a DiscreteResourceSpec, with its Kind and a Value of at least 1, or a NamedResourceSpec, with its Kind and the Value that a node gives it`,
      );
  }
  for (const memory of [limits?.MemoryBytes, reservations?.MemoryBytes]) {
    if (memory !== undefined && memory !== 0 && memory < minimumMemory) {
      throw invalid(`invalid memory value ${memory}: Must be at least 4MiB`);
    }
  }
  for (const cpus of [limits?.NanoCPUs, reservations?.NanoCPUs]) {
    if (cpus !== undefined && cpus !== 0 && cpus < 1_000_000) {
      throw invalid(`invalid cpu value ${asGo(cpus / 1e9)}: Must be at least 0.001`);
    }
  }
}

/** `1e-09` */
const asGo = (value: number): string => String(value).replace(/e-(\d)$/, 'e-0$1');
