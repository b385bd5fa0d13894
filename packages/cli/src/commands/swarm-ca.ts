import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ClusterError, delay, isSameIssuer, messageOf } from '@swarmctl/shared/kit';
import type { ClusterSpec, Node, TlsInfo } from '@swarmctl/shared/model';
import type { Shell } from '../runtime.ts';
import { durationNs } from '../units.ts';
import type { Args, Command } from './types.ts';

// swarmctl swarm ca: shows the cluster's root certificate, or rotates it and watches until every node follows.

interface Swarm {
  readonly Version: { readonly Index: number };
  readonly Spec: ClusterSpec;
  readonly TLSInfo: Required<TlsInfo>;
  readonly RootRotationInProgress: boolean;
}

const pollMs = 200;
const rotateFlags = ['ca-cert', 'ca-key', 'cert-expiry', 'external-ca'] as const;

async function run(args: Args, shell: Shell): Promise<void> {
  const swarm = await shell.client().get<Swarm>('/swarm');
  if (!args.flag('rotate')) {
    const given = rotateFlags.find((name) => args.text(name) !== undefined);
    if (given) throw invalid(`\`--${given}\` flag requires the \`--rotate\` flag to update the CA`);
    return shell.out(`${swarm.TLSInfo.TrustRoot.trim()}\n`);
  }
  const spec = { ...swarm.Spec, CAConfig: caConfig(args, swarm.Spec.CAConfig ?? {}) };
  await shell.client().post('/swarm/update', spec, {
    version: swarm.Version.Index,
    rotateWorkerToken: false,
    rotateManagerToken: false,
    rotateManagerUnlockKey: false,
  });
  if (args.flag('detach')) return;
  const root = await watch(shell, args.flag('quiet'));
  if (root !== undefined) shell.out(`${root.trim()}\n`);
}

function caConfig(args: Args, config: NonNullable<ClusterSpec['CAConfig']>): NonNullable<ClusterSpec['CAConfig']> {
  const [cert, key, expiry] = [args.text('ca-cert'), args.text('ca-key'), args.text('cert-expiry')];
  if (args.text('external-ca') !== undefined)
    throw new ClusterError('unimplemented', '--external-ca: external CAs are not supported yet');
  if (cert !== undefined && key === undefined)
    throw invalid('the --ca-cert flag requires that a --ca-key flag be provided as well');
  const life = expiry !== undefined && { NodeCertExpiry: durationNs('cert-expiry', expiry) };
  if (cert === undefined && key === undefined)
    return { ...config, ...life, ForceRotate: (config.ForceRotate ?? 0) + 1 };
  return {
    ...config,
    ...life,
    ...(cert !== undefined && { SigningCACert: read('ca-cert', cert) }),
    ...(key !== undefined && { SigningCAKey: read('ca-key', key) }),
  };
}

function read(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`--${flag}: ${messageOf(error)}`);
  }
}

/** Prints how far the nodes are whenever that changes. The new root, or undefined when the user went before the end. */
async function watch(shell: Shell, quiet: boolean): Promise<string | undefined> {
  const { clock, signal } = shell;
  for (let last = ''; ; ) {
    const [swarm, nodes] = await Promise.all([
      shell.client().get<Swarm>('/swarm'),
      shell.client().get<Node[]>('/nodes'),
    ]);
    const { text, done } = progressOf(swarm, nodes);
    if (!quiet && text !== last) shell.out(text);
    last = text;
    if (done) return swarm.TLSInfo.TrustRoot;
    await delay(clock, pollMs, signal).catch(() => undefined);
    if (signal.aborted) {
      if (!quiet) shell.err('Operation continuing in background.\n');
      return undefined;
    }
  }
}

export function progressOf(
  swarm: Pick<Swarm, 'TLSInfo' | 'RootRotationInProgress'>,
  nodes: readonly Pick<Node, 'Description'>[],
) {
  const { TLSInfo: wanted, RootRotationInProgress } = swarm;
  const certificates = nodes.filter(({ Description }) => isSameIssuer(Description?.TLSInfo, wanted)).length;
  const settled = certificates === nodes.length && !RootRotationInProgress;
  const roots = nodes.filter(({ Description }) => Description?.TLSInfo?.TrustRoot === wanted.TrustRoot).length;
  const of = (count: number) => `${count}/${nodes.length} nodes`;
  return {
    text: `desired root digest: sha256:${createHash('sha256').update(wanted.TrustRoot).digest('hex')}
  rotated TLS certificates: ${of(certificates)}
  rotated CA certificates: ${of(settled ? roots : 0)}
`,
    done: settled && roots === nodes.length,
  };
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);

export const swarmCa: Command = {
  usage: 'ca',
  describe: "Show the cluster's root certificate, or rotate it",
  options: (yargs) =>
    yargs
      .option('rotate', { type: 'boolean', describe: 'Take another root: a new one, or the one given' })
      .option('ca-cert', { type: 'string', describe: 'File with the root certificate to take, PEM' })
      .option('ca-key', { type: 'string', describe: 'File with its key, PEM' })
      .option('cert-expiry', { type: 'string', describe: 'Life of node certificates from now on (2160h)' })
      .option('external-ca', { type: 'string', describe: 'Not supported yet' })
      .option('detach', { alias: 'd', type: 'boolean', describe: 'Do not wait until all nodes follow' })
      .option('quiet', { alias: 'q', type: 'boolean', describe: 'Only the root in the end' }),
  run,
};
