import { formatIp, parseIp } from '@swarmctl/shared/model';
import { anyText, expected, fieldsOf, type Of, parsed, type Shape, type Spot, shortened, text, word } from './shape.ts';
import { fieldsAt, type Tree } from './tree.ts';

// Ports of services, short and long: `8080:80`, `10.0.0.5:8000-8002:80-82/udp`, or a map. A range stays one until its ports are needed.

export interface Span {
  readonly first: number;
  readonly last: number;
}

/** `80`, `8000-8002`; undefined when it is none. */
export function spanOf(range: string): Span | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  return match && first >= 1 && last <= 65_535 && first <= last ? { first, last } : undefined;
}

const address = (value: string) => {
  const ip = parseIp(value);
  return ip && formatIp(ip);
};

/** `0` and nothing: any port that is free. */
const isAny = (range: string): boolean => range === '' || range === '0';

const longPort = fieldsOf({
  name: text,
  mode: word('ingress', 'host'),
  host_ip: parsed('an address such as 10.0.0.5', (one) => (one === '' ? one : address(one))),
  target: parsed('a port from 1 to 65535, or a range', spanOf),
  published: parsed('a port from 1 to 65535, or a range', (one) => (isAny(one) ? one : spanOf(one))),
  protocol: word('tcp', 'udp', 'sctp'),
  // A hint for whoever wants one.
  app_protocol: anyText,
});
export type Port = Of<typeof longPort>;

export const port: Shape<Port> = shortened(longPort, (tree, spot) => shortPort(tree, spot));

const right = 'a port such as 80, 8080:80, 10.0.0.5:8080:80/udp or 8000-8002:80-82';

function shortPort(tree: Tree, spot: Spot): Tree | undefined {
  if (tree.kind !== 'leaf') return expected(tree, spot, right);
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]]*)):(?=[^:]*:))?(?:([^:]*):)?([^:/]+)(?:\/([a-z]+))?$/i.exec(tree.text);
  if (!match) return expected(tree, spot, right);
  const [, six, four, published, target = '', protocol = 'tcp'] = match;
  const whole = spanOf(target) && (published === undefined || isAny(published) || spanOf(published));
  const host = six ?? four;
  if (!whole || (host && !address(host))) return expected(tree, spot, right);
  return fieldsAt(
    tree.at,
    {
      mode: 'ingress',
      host_ip: host || undefined,
      target,
      published: published || undefined,
      protocol: protocol.toLowerCase(),
    },
    tree.tag,
  );
}

/** What makes it the same port in a later file. */
export const portKey = ({ host_ip, published, target, protocol = 'tcp' }: Port): string =>
  [host_ip ?? '', published ?? '', target, protocol].join(' ');
