import type { NodeDescription, RuntimeName, TlsInfo } from '@swarmctl/shared/model';
import type { Runtime } from '../runtime/types.ts';

// What a node says of itself: its machine by the first of its runtimes, ready when all of them are.

export interface DescribeOptions {
  readonly hostname: string;
  readonly tlsInfo?: () => TlsInfo | undefined;
}

export async function describeNode(
  runtimes: ReadonlyMap<RuntimeName, Runtime>,
  options: DescribeOptions,
): Promise<{ readonly description: NodeDescription; readonly reasons: readonly string[] }> {
  const described = await Promise.all([...runtimes.values()].map((runtime) => runtime.describe()));
  const first = described[0];
  if (!first) throw new Error('a node needs a runtime');
  const TLSInfo = options.tlsInfo?.();
  return {
    description: {
      Hostname: options.hostname,
      ...first.description,
      ...(TLSInfo && { TLSInfo }),
      Runtimes: [...runtimes.keys()],
      RuntimeReady: described.every(({ ready }) => ready),
    },
    reasons: described.flatMap(({ ready, reason }) => (ready ? [] : [reason ?? 'the runtime is not ready'])),
  };
}
