// A mixed load over all hosts in turn. By HTTP: new connections at a rate, kept-alive ones with a request each second, long downloads that are checked
// to the last byte. By UDP: datagrams at a rate, each from a socket of its own, that are answered after a while. Failures are printed as they happen, a JSON line each; once its standard input and what is under way have ended, a line with the counts.
//   node load-mix.mjs --hosts 10.77.0.1,10.77.0.2 --port 8080 --rate 500 --kept 200 --transfers 50
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { pattern } from './load-pattern.mjs';

const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
const hosts = option('hosts', '127.0.0.1').split(',');
const port = Number(option('port', '8080'));
const rate = Number(option('rate', '0'));
const kept = Number(option('kept', '0'));
const keptEveryMs = Number(option('kept-every', '1000'));
const transfers = Number(option('transfers', '0'));
const transferBytes = Number(option('transfer-bytes', '262144'));
const transferMs = Number(option('transfer-ms', '4000'));
const udpRate = Number(option('udp-rate', '0'));
const udpMs = Number(option('udp-ms', '500'));
const patienceMs = Number(option('patience', '10000'));

const counts = () => ({ sent: 0, ok: 0, slowestMs: 0 });
const result = { new: counts(), kept: counts(), transfer: counts(), udp: counts(), tasks: {}, failures: 0, lagMs: 0 };
let underWay = 0;
let isEnding = false;
let turn = 0;

const nextHost = () => hosts[turn++ % hosts.length];
const print = (line, then) => process.stdout.write(`${JSON.stringify(line)}\n`, then);

/** A connection on which requests are sent one after the other. `wants`: bytes of the body, when known. */
class Connection {
  constructor(host) {
    this.host = host;
    this.beganAt = Date.now();
    this.isOpen = true;
    this.served = 0;
    this.socket = connect({ host, port, noDelay: true });
    this.socket.on('data', (chunk) => this.data(chunk));
    this.socket.once('end', () => this.end('ended by the other side'));
    this.socket.once('error', (error) => this.end(error.code ?? error.message));
  }

  request(kind, path, isLast, check) {
    return new Promise((resolve) => {
      const { sent } = result[kind];
      result[kind].sent = sent + 1;
      underWay++;
      const startedAt = Date.now();
      const timer = setTimeout(() => this.end('time-out'), patienceMs);
      this.pending = {
        head: Buffer.alloc(0),
        length: undefined,
        got: 0,
        check,
        chunks: [],
        done: (error) => {
          this.pending = undefined;
          clearTimeout(timer);
          underWay--;
          const now = Date.now();
          result[kind].slowestMs = Math.max(result[kind].slowestMs, now - startedAt);
          if (error) {
            result.failures++;
            print({
              kind,
              host: this.host,
              error,
              connectedAt: this.beganAt,
              startedAt,
              failedAt: now,
              served: this.served,
              task: this.task,
            });
          } else {
            result[kind].ok++;
            this.served++;
            if (kind !== 'transfer') this.sawTask(startedAt);
          }
          resolve(!error);
          finishWhenDone();
        },
        touch: () => timer.refresh(),
      };
      const headers = isLast ? 'connection: close\r\n' : '';
      if (!this.isOpen) this.pending.done(this.why);
      else this.socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n${headers}\r\n`);
    });
  }

  sawTask(startedAt) {
    const [version, task] = this.body.split(' ');
    this.task = task;
    result.tasks[task] ??= { version, count: 0, lastConnectedAt: 0, lastStartedAt: 0 };
    const seen = result.tasks[task];
    seen.count++;
    seen.lastConnectedAt = Math.max(seen.lastConnectedAt, this.beganAt);
    seen.lastStartedAt = Math.max(seen.lastStartedAt, startedAt);
  }

  data(chunk) {
    const now = this.pending;
    if (!now) return this.end('an answer that nobody asked for');
    now.touch();
    if (now.length === undefined) {
      now.head = Buffer.concat([now.head, chunk]);
      const end = now.head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = now.head.subarray(0, end).toString();
      const status = head.slice(9, 12);
      if (status !== '200') return this.end(`status ${status}`);
      now.length = Number(/^content-length: (\d+)/im.exec(head)?.[1]);
      this.mayGoOn = !/^connection: close/im.test(head);
      this.body = '';
      chunk = now.head.subarray(end + 4);
    }
    if (now.check) {
      if (!pattern(now.got, now.got + chunk.length).equals(chunk)) return this.end(`wrong bytes after ${now.got}`);
    } else this.body += chunk;
    now.got += chunk.length;
    if (now.got > now.length) return this.end('more than was said');
    if (now.got === now.length) now.done();
  }

  end(why) {
    if (!this.isOpen) return;
    this.isOpen = false;
    const { pending } = this;
    this.why = pending?.length !== undefined ? `cut after ${pending.got} of ${pending.length} bytes: ${why}` : why;
    this.socket.destroy();
    if (pending) pending.done(this.why);
    else if (/^E/.test(why)) this.fail('idle', `${why} between requests`, Date.now());
  }

  fail(kind, error, startedAt) {
    result.failures++;
    const { host, beganAt: connectedAt, served, task } = this;
    print({ kind, host, error, connectedAt, startedAt, failedAt: Date.now(), served, task });
  }
}

async function once() {
  const connection = new Connection(nextHost());
  await connection.request('new', '/', true);
  connection.end();
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function keep(number) {
  await sleep((number * keptEveryMs) / kept);
  let connection;
  while (!isEnding) {
    if (!connection?.isOpen) connection = new Connection(nextHost());
    const isFine = await connection.request('kept', '/', false);
    if (!isFine || !connection.mayGoOn) connection.end();
    await sleep(keptEveryMs);
  }
  connection?.end();
}

async function download(number) {
  await sleep((number * Math.min(transferMs, 4_000)) / transfers);
  while (!isEnding) {
    const connection = new Connection(nextHost());
    await connection.request('transfer', `/bytes?n=${transferBytes}&ms=${transferMs}`, true, true);
    connection.end();
  }
}

function ask() {
  const socket = createSocket('udp4');
  const [host, startedAt] = [nextHost(), Date.now()];
  result.udp.sent++;
  underWay++;
  const end = (error) => {
    clearTimeout(timer);
    socket.close();
    underWay--;
    if (error) {
      result.failures++;
      print({ kind: 'udp', host, error, connectedAt: startedAt, startedAt, failedAt: Date.now(), served: 0 });
    } else result.udp.ok++;
    result.udp.slowestMs = Math.max(result.udp.slowestMs, Date.now() - startedAt);
    finishWhenDone();
  };
  const timer = setTimeout(() => end('no answer'), udpMs + patienceMs / 4);
  socket.once('error', (error) => end(error.code));
  socket.once('message', () => end());
  // Connected, so that an answer from elsewhere is none.
  socket.connect(port, host, () => socket.send(`${udpMs} x`));
}

function finishWhenDone() {
  if (isEnding && underWay === 0) print(result, () => process.exit(0));
}

const began = performance.now();
let made = 0;
let asked = 0;
let last = began;
const timer = setInterval(() => {
  const now = performance.now();
  result.lagMs = Math.max(result.lagMs, Math.round(now - last - 10));
  last = now;
  for (const due = ((now - began) * rate) / 1000; made < due; made++) void once();
  for (const due = ((now - began) * udpRate) / 1000; asked < due; asked++) ask();
}, 10);
for (let i = 0; i < kept; i++) void keep(i);
for (let i = 0; i < transfers; i++) void download(i);
process.stdin.resume().once('end', () => {
  isEnding = true;
  clearInterval(timer);
  finishWhenDone();
});
process.stderr.write('started\n');
