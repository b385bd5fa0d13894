import { renderList } from '../output.ts';
import { forEach } from '../runtime.ts';
import type { Command } from './types.ts';

// swarmctl context clients, context revoke: the certificates that `context export` had made, and which of them count no more.

interface Client {
  readonly Serial: string;
  readonly Name: string;
  readonly IssuedAt: string;
  readonly ExpiresAt: string;
  readonly Revoked: boolean;
}

const columns = [
  { header: 'NAME', field: 'Name' },
  { header: 'SERIAL', field: 'Serial' },
  { header: 'ISSUED', field: 'IssuedAt' },
  { header: 'EXPIRES', field: 'ExpiresAt' },
  { header: 'STATE', field: 'State' },
];

const clients: Command = {
  usage: 'clients',
  describe: 'List the certificates that were exported and whose time is not over',
  options: (yargs) =>
    yargs
      .option('format', { type: 'string', describe: "'table', 'json' or a Go template" })
      .option('quiet', { alias: 'q', type: 'boolean', describe: 'Only serial numbers' }),
  run: async (args, shell) => {
    const rows = (await shell.client().get<Client[]>('/swarm/clients')).map((client) => ({
      ...client,
      State: client.Revoked ? 'revoked' : 'valid',
    }));
    shell.out(renderList(rows, columns, 'Serial', { quiet: args.flag('quiet'), format: args.text('format') }));
  },
};

const revoke: Command = {
  usage: 'revoke <client...>',
  describe:
    'Take exported certificates back: all of a name, or one by its serial number. Their open connections are cut',
  run: (args, shell) =>
    forEach(shell, args.list('client'), async (client) => {
      await shell.client().delete(`/swarm/clients/${encodeURIComponent(client)}`);
      return client;
    }),
};

export const contextClients: readonly Command[] = [clients, revoke];
