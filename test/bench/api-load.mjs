// Asks an API at a constant rate, whatever the answers take, and prints how long they took, in ms, by kind: `node api-load.mjs SOCKET RATE SECONDS REQUESTS.json`.
// REQUESTS: `[{ kind, method, path, body? }]`, asked by turns; `{n}` in a path or body is the request's number.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';

const [socketPath, rateText, secondsText, file] = process.argv.slice(2);
const [rate, seconds] = [Number(rateText), Number(secondsText)];
const requests = JSON.parse(readFileSync(file, 'utf8'));
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const times = { read: [], write: [] };
const failures = [];
const total = rate * seconds;
const start = performance.now();
let sent = 0;
let done = 0;
let latest = 0;

const tick = () => {
  const due = Math.min(total, Math.floor(((performance.now() - start) / 1000) * rate));
  latest = Math.max(latest, due - sent);
  for (; sent < due; sent++) ask(requests[sent % requests.length], sent);
  if (sent < total) setTimeout(tick, 1);
};
tick();

function ask({ kind, method, path, body }, n) {
  const number = (text) => text?.replaceAll('{n}', String(n));
  const payload = number(body === undefined ? undefined : JSON.stringify(body));
  const from = start + (n / rate) * 1000;
  const headers =
    payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
  const asked = request({ socketPath, agent, method, path: number(path), headers }, (answer) => {
    let text = '';
    answer.on('data', (chunk) => {
      if (answer.statusCode >= 400) text += chunk;
    });
    answer.on('end', () => {
      // From when it was due: an answer that holds up the next ones counts for them as well.
      times[kind].push(performance.now() - from);
      if (answer.statusCode >= 400) failures.push(`${method} ${path}: ${answer.statusCode} ${text}`);
      finish();
    });
  });
  asked.on('error', (error) => {
    failures.push(`${method} ${path}: ${error.message}`);
    finish();
  });
  asked.end(payload);
}

function finish() {
  if (++done < total) return;
  process.stdout.write(`${JSON.stringify({ times, failures: failures.length, example: failures[0], latest })}\n`);
  agent.destroy();
}
