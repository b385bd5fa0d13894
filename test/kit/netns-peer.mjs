// A program that lives in a network namespace and does what it is told over IPC: listens, connects, keeps connections, runs a node's ingress.
// Backends greet with `<name> <the client's address>` and echo what follows.
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const held = new Map();
const servers = new Map();
const ingresses = new Map();

const verbs = {
  listen: ({ host, port, name }) =>
    new Promise((resolve, reject) => {
      const sockets = new Set();
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => sockets.delete(socket));
        socket.write(`${name} ${socket.remoteAddress}\n`);
        socket.pipe(socket);
      });
      servers.set(`${host} ${port}`, { close: () => server.close(), sockets });
      server.on('error', (error) => reject(error));
      server.listen({ port, host, backlog: 4096, ipv6Only: host.includes(':') }, () => resolve());
    }),

  listenUdp: ({ host, port, name }) =>
    new Promise((resolve, reject) => {
      const socket = udpSocket(host, (_data, from) => socket.send(`${name} ${from.address}`, from.port, from.address));
      servers.set(`udp ${host} ${port}`, { close: () => socket.close(), sockets: new Set() });
      socket.on('error', reject);
      socket.bind(port, host, () => resolve());
    }),

  unlisten: async ({ host, port }) => servers.get(`${host} ${port}`).close(),

  /** One new connection after the other, `parallel` at once; what each was greeted with, or its error's code. */
  async ask({ host, port, times = 1, parallel = 1, from }) {
    const answers = [];
    let left = times;
    const worker = async () => {
      while (left-- > 0) answers.push(await greeting(host, port, from));
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    return answers;
  },

  /** New connections until `halt`. */
  async load({ host, port, parallel = 4 }) {
    const load = { running: true, counts: {} };
    const worker = async () => {
      while (load.running) {
        const answer = (await greeting(host, port)).split(' ')[0];
        load.counts[answer] = (load.counts[answer] ?? 0) + 1;
      }
    };
    load.done = Promise.all(Array.from({ length: parallel }, worker));
    held.set('load', load);
  },

  async halt() {
    const load = held.get('load');
    load.running = false;
    await load.done;
    return load.counts;
  },

  hold: ({ key, host, port, localPort }) =>
    new Promise((resolve, reject) => {
      const socket = connect({ host, port, ...(localPort && { localPort }) });
      held.set(key, socket);
      socket.once('error', reject);
      socket.once('data', (data) => resolve(String(data).trim()));
    }),

  say: ({ key, text }) =>
    new Promise((resolve, reject) => {
      const socket = held.get(key);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed')));
      socket.once('data', (data) => resolve(String(data).trim()));
      socket.write(`${text}\n`);
    }),

  /** From one socket, so that all to one host are one flow; the answers, `none` for one that does not come from there. */
  async udp({ key, host, port, times = 1, waitMs = 300 }) {
    let socket = held.get(key);
    if (!socket) {
      socket = udpSocket(host);
      held.set(key, socket);
    }
    const answers = [];
    for (let i = 0; i < times; i++) {
      const answer = new Promise((resolve) => {
        const end = (text) => {
          clearTimeout(timer);
          socket.off('message', hear);
          resolve(text);
        };
        const timer = setTimeout(() => end('none'), waitMs);
        const hear = (data, from) => from.address === host && end(String(data));
        socket.on('message', hear);
      });
      socket.send('x', port, host);
      answers.push(await answer);
    }
    return answers;
  },

  async ingress({ kind = 'nftables', options }) {
    const { createIngress } = await import('../../packages/worker/src/network/index.ts');
    const { realClock, createLogger } = await import('../../packages/shared/src/kit/index.ts');
    const log = createLogger({ level: process.env.LOG_LEVEL ?? 'fatal' });
    ingresses.set(options.nodeId, await createIngress(kind, options, { log, clock: realClock }));
    return ingresses.get(options.nodeId).kind;
  },
  /** `mesh`: a MeshState as data, with `ways` by node id. `own`: endpoints of the tasks here. */
  async apply({ nodeId, entries, mesh, own }) {
    const start = performance.now();
    const wanted = new Map(entries.map((entry) => [entry.key, entry]));
    await ingresses.get(nodeId).apply(wanted, mesh && meshState(mesh), own);
    return performance.now() - start;
  },
  problems: async ({ nodeId }) => Object.fromEntries(ingresses.get(nodeId).problems()),
  sweep: ({ nodeId }) => ingresses.get(nodeId).parts.kernel.sweep(),
  shut: ({ nodeId, keep }) => ingresses.get(nodeId).close({ keep }),
};

const udpSocket = (host, onMessage) =>
  createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', ipv6Only: host.includes(':') }, onMessage);

// One state for equal data, as a mesh has it.
const states = new Map();
function meshState(data) {
  const key = JSON.stringify(data);
  const { marks, ways, ...rest } = data;
  const state = { ...rest, marks: new Map(marks), wayTo: (nodeId) => ways[nodeId] ?? { kind: 'masquerade', v4: '' } };
  if (!states.has(key)) states.set(key, state);
  return states.get(key);
}

const greeting = (host, port, from) =>
  new Promise((resolve) => {
    const socket = connect({ host, port, ...(from && { localAddress: from }) });
    socket.setTimeout(3_000, () => {
      resolve('ETIMEDOUT');
      socket.destroy();
    });
    socket.once('error', (error) => resolve(error.code));
    socket.once('data', (data) => {
      resolve(String(data).trim());
      socket.resetAndDestroy();
    });
  });

process.on('message', ({ id, verb, ...rest }) => {
  const answer = Promise.resolve().then(() => verbs[verb](rest));
  answer.then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: error.message ?? String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
process.send({ id: 0 });
