// The server of the load tests: says who answers, sends long downloads, and ends as a good server does.
//   GET /                     `<version> <task>`
//   GET /bytes?n=N&ms=T       N bytes of `pattern`, spread over T ms
//   GET /sick                 from now on /health answers 500
// On SIGTERM it takes no new connection, tells each kept-alive one with its next answer that it ends, and exits once none is left.
// UDP on the same port: a datagram `<ms> <text>` comes back after so long, with who answers.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:http';
import { Server } from 'node:net';
import { pattern } from './load-pattern.mjs';

const { PORT = '8080', VERSION = '1', TASK_ID = '' } = process.env;
const tickMs = 50;
const who = `${VERSION} ${TASK_ID}`;
let isEnding = false;
let isSick = false;

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://x');
  if (isEnding) response.setHeader('connection', 'close');
  if (url.pathname === '/bytes')
    return send(response, Number(url.searchParams.get('n')), Number(url.searchParams.get('ms')));
  if (url.pathname === '/sick') isSick = true;
  const status = url.pathname === '/health' && isSick ? 500 : 200;
  response.writeHead(status, { 'content-length': who.length });
  response.end(who);
});
server.keepAliveTimeout = 0;
server.requestTimeout = 0;

function send(response, total, ms) {
  response.writeHead(200, { 'content-length': total });
  const began = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.min(total, Math.floor((total * (performance.now() - began)) / ms));
    if (response.destroyed) return clearInterval(timer);
    if (due > sent) response.write(pattern(sent, due));
    sent = due;
    if (sent < total) return;
    clearInterval(timer);
    response.end();
  }, tickMs);
}

const udp = createSocket('udp4');
udp.on('message', (message, from) => {
  const ms = Number.parseInt(String(message), 10);
  setTimeout(() => udp.send(`${who} ${message}`, from.port, from.address), ms);
});
udp.bind(Number(PORT));
server.listen({ port: Number(PORT), backlog: 1024 }, () => console.log(`version ${VERSION} serves on ${PORT}`));

process.on('SIGTERM', () => {
  isEnding = true;
  // That of HTTP would cut idle connections, on which a request may be on its way.
  Server.prototype.close.call(server, () => process.exit(0));
});
