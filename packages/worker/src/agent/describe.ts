import type { NodeDescription, RuntimeName, TlsInfo } from '@swarmctl/shared/model';
import type { Runtime } from '../runtime/types.ts';

// What a node says of itself: its machine by the first of its runtimes, ready when all of them are.

export interface Extras {
  tlsInfo?(): TlsInfo | undefined;
  ingress?(): NodeDescription['Ingress'] | undefined;
  /** The node's end of the mesh. */
  mesh?(): NodeDescription['Mesh'] | undefined;
  /** The node's end of the tunnels of encrypted networks. */
  tunnel?(): NodeDescription['Tunnel'] | undefined;
  /** The containers on its attachable networks that no service made. */
  guests?(): NodeDescription['Guests'] | undefined;
  /** What its overlay networks do not do as asked. */
  networkProblems?(): NodeDescription['NetworkProblems'] | undefined;
  /** Of the engine; laid over those that the runtime tells of. */
  engineLabels?(): Readonly<Record<string, string>>;
}

export async function describeNode(
  runtimes: ReadonlyMap<RuntimeName, Runtime>,
  hostname: string,
  extras: Extras,
): Promise<{ readonly description: NodeDescription; readonly reasons: readonly string[] }> {
  const described = await Promise.all([...runtimes.values()].map((runtime) => runtime.describe()));
  const first = described[0];
  if (!first) throw new Error('a node needs a runtime');
  const { Engine } = first.description;
  const Labels = { ...Engine.Labels, ...extras.engineLabels?.() };
  const TLSInfo = extras.tlsInfo?.();
  const Ingress = extras.ingress?.();
  const Mesh = extras.mesh?.();
  const Tunnel = extras.tunnel?.();
  const Guests = extras.guests?.();
  const NetworkProblems = extras.networkProblems?.();
  return {
    description: {
      Hostname: hostname,
      ...first.description,
      Engine: { ...Engine, ...(Object.keys(Labels).length > 0 && { Labels }) },
      ...(TLSInfo && { TLSInfo }),
      Runtimes: [...runtimes.keys()],
      RuntimeReady: described.every(({ ready }) => ready),
      ...(Ingress && { Ingress }),
      ...(Mesh && { Mesh }),
      ...(Tunnel && { Tunnel }),
      ...(Guests && Guests.length > 0 && { Guests }),
      ...(NetworkProblems && NetworkProblems.length > 0 && { NetworkProblems }),
    },
    reasons: described.flatMap(({ ready, reason }) => (ready ? [] : [reason ?? 'the runtime is not ready'])),
  };
}
