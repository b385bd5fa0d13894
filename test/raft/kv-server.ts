import { monitorEventLoopDelay } from 'node:perf_hooks';
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { type Channel, openRaftNode, RaftError, type RaftNode, type Start } from 'raft-ts';
import { encodePreamble, readPreamble } from '../../packages/manager/src/raft-streams.ts';
import { createHttpServer, type HttpAnswer } from './kv-http.ts';
import { KeyValueMachine } from './kv-machine.ts';

// A key-value server of one raft member, as a process: mutual TLS between members, real files, and for clients the JSON that etcd's gateway speaks,
// over HTTP/1.1 (as much of it as they use). For benchmarks and for tests that kill and cut. Its settings come as JSON in its only argument; it prints `ready` once it serves.

export interface KvSettings {
  readonly id: number;
  readonly dir: string;
  readonly start: Start['kind'];
  /** host:port of this member for the others. */
  readonly address: string;
  /** A path, or a port on 127.0.0.1. */
  readonly clients: string | number;
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string };
  readonly reads?: 'quorum' | 'lease';
  /** Reads ask nobody, which is wrong: for tests of what finds that out. */
  readonly staleReads?: boolean;
  readonly snapshotEntries?: number;
  readonly verbose?: boolean;
}

const settings = JSON.parse(process.argv[2] ?? '{}') as KvSettings;
const machine = new KeyValueMachine();
const delay = monitorEventLoopDelay({ resolution: 20 });
delay.enable();

const split = (address: string): [string, number] => {
  const at = address.lastIndexOf(':');
  return [address.slice(0, at), Number(address.slice(at + 1))];
};

/** Every member's certificate is named `member-<id>`. */
const nameOf = (socket: TLSSocket) => String(socket.getPeerCertificate().subject?.CN ?? '');

function dial(peer: { id: number; address: string }, channel: Channel, signal: AbortSignal): Promise<TLSSocket> {
  const [host, port] = split(peer.address);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      ...settings.tls,
      minVersion: 'TLSv1.3',
      checkServerIdentity: () => undefined,
    });
    const fail = () => socket.destroy(new Error('called off'));
    signal.addEventListener('abort', fail, { once: true });
    socket.once('error', reject);
    socket.setTimeout(3_000, () => socket.destroy(new Error('no answer')));
    socket.once('secureConnect', () => {
      signal.removeEventListener('abort', fail);
      socket.setTimeout(0);
      socket.setNoDelay(true);
      if (nameOf(socket) !== `member-${peer.id}`) socket.destroy(new Error(`${nameOf(socket)} is not ${peer.id}`));
      else {
        socket.write(encodePreamble(settings.id, channel));
        resolve(socket);
      }
    });
  });
}

const node: RaftNode = await openRaftNode(
  {
    id: settings.id,
    dir: settings.dir,
    random: Math.random,
    onFatal: (error) => {
      process.stderr.write(`fatal: ${error.message}\n`);
      process.exit(1);
    },
    ...(settings.reads && { reads: settings.reads }),
    ...(settings.snapshotEntries && { snapshotEntries: settings.snapshotEntries }),
    ...(settings.verbose && {
      log: (level, fields, message) =>
        level === 'debug' || process.stderr.write(`${level} ${message} ${JSON.stringify(fields)}\n`),
    }),
  },
  { stateMachine: machine, dial, sealer: { keyId: 'none', seal: (plain) => plain, open: (sealed) => sealed } },
  settings.start === 'bootstrap' ? { kind: 'bootstrap', address: settings.address } : { kind: settings.start },
);

const [host, port] = split(settings.address);
createTlsServer({ ...settings.tls, requestCert: true, minVersion: 'TLSv1.3' }, (socket) => {
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  void readPreamble(socket).then((preamble) => {
    if (preamble && nameOf(socket) === `member-${preamble.from}`) node.accept(preamble.from, preamble.channel, socket);
    else socket.destroy();
  });
}).listen(port, host);

const ok = (body: unknown): HttpAnswer => ({ status: 200, body });

/** Refused for certain, or with an outcome that nobody knows. */
function failure(error: unknown): HttpAnswer {
  if (error instanceof SyntaxError) return { status: 400, body: { code: 'not-json' } };
  const code = error instanceof RaftError ? error.code : 'internal';
  const unknown = code === 'dropped' || code === 'stopped' || code === 'internal';
  return { status: unknown ? 504 : 503, body: { code, leader: node.status().leader } };
}

const text = (base64: unknown) => Buffer.from(String(base64), 'base64').toString();

async function propose(...command: unknown[]): Promise<unknown> {
  return (await node.propose(Buffer.from(JSON.stringify(command)))).result;
}

async function answer(path: string, body: Record<string, unknown>): Promise<HttpAnswer> {
  switch (path) {
    case '/v3/kv/put':
      return ok({ header: { revision: await propose('put', body['key'], body['value']) } });
    case '/v3/kv/deleterange':
      return ok({ deleted: await propose('delete', body['key']) });
    case '/cas':
      return ok({ swapped: await propose('cas', body['key'], body['from'], body['to']) });
    case '/v3/kv/range': {
      const index = settings.staleReads ? 0 : await node.readIndex();
      const value = machine.get(String(body['key']));
      const { id: member, role, leader, term, applied } = node.status();
      return ok({
        header: { member, role, leader, term, applied, index },
        kvs: value === undefined ? [] : [{ key: body['key'], value }],
      });
    }
    case '/members/add':
      await node.changeMembership({
        type: body['learner'] ? 'add-learner' : 'add',
        id: Number(body['id']),
        address: text(body['address']),
      });
      return ok({});
    case '/transfer':
      await node.transferLeadership(body['to'] === undefined ? undefined : Number(body['to']));
      return ok({});
    case '/status': {
      const { id, role, leader, term, commit, applied } = node.status();
      const slowestMs = delay.max / 1e6;
      if (body['reset']) delay.reset();
      return ok({ id, role, leader, term, commit, applied, slowestMs, hash: machine.hash() });
    }
    default:
      return { status: 404, body: { code: 'not-found' } };
  }
}

const server = createHttpServer(async (path, json) => {
  try {
    return await answer(path, (json === '' ? {} : JSON.parse(json)) as Record<string, unknown>);
  } catch (error) {
    return failure(error);
  }
});
server.on('listening', () => process.stdout.write('ready\n'));
if (typeof settings.clients === 'number') server.listen(settings.clients, '127.0.0.1');
else server.listen(settings.clients);
process.on('SIGTERM', () => void node.stop().then(() => process.exit(0)));
