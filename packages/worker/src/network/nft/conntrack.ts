import type { RunCommand } from '../command.ts';
import type { Target } from '../plan.ts';

// UDP has no end, so the kernel would go on sending a client's datagrams to a backend that is gone. The entries that remember it are
// deleted; the client's next datagram finds a new backend.

interface UdpFlow {
  readonly client: Target;
  readonly asked: Target;
  readonly answering: Target;
}

export interface UdpPort {
  readonly port: number;
  readonly targets: readonly Target[];
}

/** Deletes the flows to `ports` that lead elsewhere than to a target. True when it could (the `conntrack` tool is there). */
export async function forgetStaleUdp(
  run: RunCommand,
  ports: readonly UdpPort[],
  isOurs: (addr: string) => boolean,
): Promise<boolean> {
  try {
    for (const port of ports) {
      const { stdout } = await run('conntrack', ['-L', '-p', 'udp', '--orig-port-dst', String(port.port)]);
      for (const flow of staleFlows(stdout, port, isOurs)) await run('conntrack', deletion(flow));
    }
    return true;
  } catch {
    return false;
  }
}

/** Of the lines of `conntrack -L -p udp`. */
export function staleFlows(text: string, { port, targets }: UdpPort, isOurs: (addr: string) => boolean): UdpFlow[] {
  return text
    .split('\n')
    .map(parseFlow)
    .filter((flow) => flow !== undefined)
    .filter(({ asked, answering }) => {
      if (asked.port !== port || !isOurs(asked.addr)) return false;
      return !targets.some((target) => target.addr === answering.addr && target.port === answering.port);
    });
}

const line = /^udp\s.*?src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+).*? src=(\S+) dst=\S+ sport=(\d+) dport=\d+/;

function parseFlow(text: string): UdpFlow | undefined {
  const [, client, asked, sport, dport, answering, port] = line.exec(text) ?? [];
  if (!client || !asked || !answering) return undefined;
  return {
    client: { addr: client, port: Number(sport) },
    asked: { addr: asked, port: Number(dport) },
    answering: { addr: answering, port: Number(port) },
  };
}

const deletion = ({ client, asked }: UdpFlow): string[] => [
  ...['-D', '-p', 'udp', '--orig-src', client.addr, '--orig-dst', asked.addr],
  ...['--orig-port-src', String(client.port), '--orig-port-dst', String(asked.port)],
];
