import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { notOurs, SplitIngress } from './split.ts';

// Who of the three has a port, and when: each part is a list of what it was told, which it does when the test says so.

class Part {
  readonly kind = 'proxy' as const;
  readonly tables: string[] = [];
  readonly #name: string;
  readonly #log: string[];
  found = new Map<string, string>();
  isSlow = false;
  finish: (() => void) | undefined;
  closed: unknown;

  constructor(name: string, log: string[]) {
    this.#name = name;
    this.#log = log;
  }

  apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void> {
    this.#log.push(`${this.#name} ${[...entries.keys()].map((key) => key.replace('tcp/', '')).join(' ')}`.trim());
    if (!this.isSlow) return Promise.resolve();
    return new Promise((resolve) => {
      this.finish = resolve;
    });
  }

  problems = () => this.found;
  listening = () => [];
  close = (options?: unknown) => {
    this.closed = options ?? 'yes';
    return Promise.resolve();
  };
}

const backend = { taskId: 't', nodeId: 'n1' } as IngressBackend;
const entry = (publishedPort: number, more: Partial<IngressEntry> = {}): IngressEntry => ({
  ...{ key: `tcp/${publishedPort}`, serviceId: 's', serviceName: 'web', protocol: 'tcp', publishedPort },
  ...{ targetPort: 80, backends: [backend], ...more },
});
const table = (...entries: IngressEntry[]) => new Map(entries.map((one) => [one.key, one]));
const header = (port: number) => entry(port, { clientAddress: 'proxy-v2' });

describe('SplitIngress', () => {
  let log: string[];
  let [kernel, proxy, relay]: Part[] = [];
  let ingress: SplitIngress;
  const said = () => log.splice(0);

  beforeEach(() => {
    log = [];
    [kernel, proxy, relay] = ['kernel', 'proxy', 'relay'].map((name) => new Part(name, log));
    ingress = new SplitIngress({ kernel: kernel!, proxy: proxy!, relay: relay! });
  });

  it('gives the proxy what the kernel cannot do, and the relay what that has', async () => {
    await ingress.apply(
      table(
        entry(80),
        header(81),
        entry(82, { proxy: { balance: 'least-connections' } }),
        entry(83, { clientAddress: 'masquerade', allow: ['10.0.0.0/8'] }),
      ),
    );
    expect(said()).toEqual(['relay 80 83', 'proxy 81 82', 'kernel 80 83', 'relay 80 83']);
  });

  it('waits for the proxy with nothing that it has already', async () => {
    await ingress.apply(table(entry(80), header(81)));
    said();
    proxy!.isSlow = true;
    void ingress.apply(table(entry(80), header(81), entry(82)));
    expect(said()).toEqual(['proxy 81', 'kernel 80 82', 'relay 80 82']);
  });

  it('opens the sockets of a port that becomes the proxy’s before the kernel’s rules go', async () => {
    await ingress.apply(table(entry(80), entry(81)));
    said();
    proxy!.isSlow = true;
    const applied = ingress.apply(table(entry(80), header(81)));
    await Promise.resolve();
    expect(said()).toEqual(['relay 80', 'proxy 81']);
    proxy!.finish?.();
    await applied;
    expect(said()).toEqual(['kernel 80', 'relay 80']);
  });

  it('closes those of one that becomes the kernel’s after its rules have come', async () => {
    await ingress.apply(table(header(80), header(81)));
    said();
    kernel!.isSlow = true;
    const applied = ingress.apply(table(header(80), entry(81)));
    expect(said()).toEqual(['proxy 81 80', 'kernel 81', 'relay']);
    kernel!.finish?.();
    await applied;
    expect(said()).toEqual(['proxy 80', 'relay 81']);
  });

  it('does what a newer table says when one comes in between', async () => {
    await ingress.apply(table(header(80)));
    said();
    kernel!.isSlow = true;
    const first = ingress.apply(table(entry(80)));
    const finishFirst = kernel!.finish;
    const second = ingress.apply(table(header(80)));
    said();
    finishFirst?.();
    kernel!.finish?.();
    await Promise.all([first, second]);
    // The port was the proxy's all the time.
    expect(said()).toEqual([]);
    kernel!.isSlow = false;
    await ingress.apply(table(header(80)));
    expect(said()).toEqual(['proxy 80', 'kernel', 'relay']);
  });

  it('tells everybody’s problems, and ends everybody', async () => {
    kernel!.found.set('tcp/80', 'taken');
    relay!.found.set('tcp/80', 'taken for IPv6').set('tcp/81', 'taken for IPv6');
    proxy!.found.set('tcp/82', 'masqueraded');
    expect([...ingress.problems()]).toEqual([
      ['tcp/80', 'taken'],
      ['tcp/81', 'taken for IPv6'],
      ['tcp/82', 'masqueraded'],
    ]);
    await ingress.close({ keep: true });
    expect([kernel!.closed, proxy!.closed, relay!.closed]).toEqual([{ keep: true }, 'yes', 'yes']);
  });
});

it('tells sockets of our own from those of other programs', () => {
  const at = (addr: string, port: number) => ({ protocol: 'tcp' as const, addr, port });
  expect(notOurs([at('::', 80), at('0.0.0.0', 80), at('::', 81)], [at('::', 80), at('::', 82)])).toEqual([
    at('0.0.0.0', 80),
    at('::', 81),
  ]);
});
