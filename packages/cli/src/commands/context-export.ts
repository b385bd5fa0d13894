import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { ClusterError, createCsr, formatAddress } from '@swarmctl/shared/kit';
import { hostOf } from '../context.ts';
import type { Shell } from '../runtime.ts';
import { durationNs } from '../units.ts';
import type { Args, Command } from './types.ts';

// swarmctl context export: a folder by which docker, swarmctl and every other client of the Docker Engine API reach a manager over TLS. The key is made here
// and goes nowhere.

interface Answer {
  readonly Certificate: string;
  readonly CA: string;
}

const apiPort = 2376;

async function exportContext(args: Args, shell: Shell): Promise<void> {
  const name = args.text('name') ?? '';
  const folder = resolve(args.text('folder') ?? name);
  if (existsSync(folder)) {
    throw new ClusterError('invalid-argument', `${folder} is there already; name another folder, or remove it first`);
  }
  const host = await hostFor(args, shell);
  const expiry = args.text('expiry');
  const { csr, key } = await createCsr();
  const answer = await shell.client().post<Answer>('/swarm/clients', {
    Name: name,
    CSR: csr,
    ...(expiry && { Expiry: durationNs('expiry', expiry) }),
  });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    const files = {
      'ca.pem': answer.CA,
      'cert.pem': answer.Certificate,
      'key.pem': key,
      'env.sh': environment(folder, host),
    };
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text, { mode: 0o600 });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  shell.out(`Wrote ${folder}. Use it by one of:

  . ${join(folder, 'env.sh')}
  docker context create ${name} --docker "host=${host},ca=${folder}/ca.pem,cert=${folder}/cert.pem,key=${folder}/key.pem"
  swarmctl context create ${name} --endpoint ${host} --cert-path ${folder}
`);
  if (!(await listens(host)))
    shell.err(`warning: nothing listens at ${host} yet, as seen from here: start swarmd with --api-addr\n`);
}

const listens = (host: string): Promise<boolean> =>
  new Promise((resolve) => {
    const { hostname, port } = new URL(host);
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), timeout: 2_000 });
    const end = (does: boolean) => {
      socket.destroy();
      resolve(does);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });

/** Given, or the manager that is asked. */
async function hostFor(args: Args, shell: Shell): Promise<string> {
  const given = args.text('endpoint');
  if (given === undefined) {
    const { Swarm } = await shell.client().get<{ Swarm: { NodeAddr: string } }>('/info');
    return `tcp://${formatAddress(Swarm.NodeAddr, apiPort)}`;
  }
  const host = hostOf(given, 'the option --endpoint');
  if (!host.startsWith('tcp://')) {
    throw new ClusterError('invalid-argument', `--endpoint: '${given}' should look like tcp://10.0.0.5:${apiPort}`);
  }
  return /:\d+$/.test(host) ? host : `${host}:${apiPort}`;
}

const environment = (folder: string, host: string): string =>
  Object.entries({ DOCKER_HOST: host, DOCKER_CERT_PATH: folder, DOCKER_TLS_VERIFY: '1' })
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join('');

export const contextExport: Command = {
  usage: 'export <name> [folder]',
  describe: 'Write a folder with certificates by which docker and others reach a manager over TLS',
  options: (yargs) =>
    yargs
      .option('endpoint', { type: 'string', describe: `tcp://host:port of the manager (this one, port ${apiPort})` })
      .option('expiry', { type: 'string', describe: 'How long the certificate is valid, such as 24h (90 days)' }),
  run: exportContext,
};
