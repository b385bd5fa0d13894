// A constant load of HTTP requests, each on a connection of its own, for at most `--seconds` or `--count` requests. Ends on SIGTERM or at its time; prints one JSON line:
// what was sent, what failed and why, which answers came.
//   node load.mjs --host 127.0.0.5 --port 8080 --path / --rate 50 --seconds 60
import { get } from 'node:http';

const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
const host = option('host', '127.0.0.1');
const port = Number(option('port', '8080'));
const path = option('path', '/');
const rate = Number(option('rate', '50'));
const seconds = Number(option('seconds', '60'));
const count = Number(option('count', 'Infinity'));

const result = { sent: 0, ok: 0, failures: [], answers: {}, slowestMs: 0 };
let open = 0;
let ended = false;

function one() {
  const started = performance.now();
  const at = new Date().toISOString();
  result.sent++;
  open++;
  const done = (error, body) => {
    open--;
    result.slowestMs = Math.max(result.slowestMs, Math.round(performance.now() - started));
    if (error) result.failures.push(`${at} ${error}`);
    else {
      result.ok++;
      const key = body.trim().slice(0, 100);
      result.answers[key] = (result.answers[key] ?? 0) + 1;
    }
    if (ended && open === 0) finish();
  };
  let settled = false;
  const once = (error, body) => {
    if (settled) return;
    settled = true;
    done(error, body);
  };
  const request = get({ host, port, path, agent: false, timeout: 10_000 }, (response) => {
    let body = '';
    response.setEncoding('utf8');
    response.on('data', (chunk) => {
      body += chunk;
    });
    response.on('end', () =>
      response.statusCode === 200 && response.complete ? once(undefined, body) : once(`status ${response.statusCode}`),
    );
    response.on('error', (error) => once(error.code ?? error.message));
    response.on('aborted', () => once('aborted'));
  });
  request.on('timeout', () => request.destroy(new Error('time-out')));
  request.on('error', (error) => once(error.code ?? error.message));
}

const timer = setInterval(() => {
  one();
  if (result.sent >= count) end();
}, 1000 / rate);
function end() {
  if (ended) return;
  ended = true;
  clearInterval(timer);
  if (open === 0) finish();
}
function finish() {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}
setTimeout(end, seconds * 1000);
process.on('SIGTERM', end);
process.on('SIGINT', end);
process.stderr.write('started\n');
