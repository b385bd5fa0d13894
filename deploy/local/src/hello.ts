import { createServer } from 'node:http';
import { hostname } from 'node:os';

// The web service of the local cluster where containers are not to be had: says which replica answered, and logs each request. Listens on PORT.

const name = `${process.env['TASK_NAME'] ?? hostname()}`;
const port = Number(process.env['PORT'] ?? 8080);
const server = createServer((request, response) => {
  process.stdout.write(`${request.method} ${request.url} from ${request.socket.remoteAddress}\n`);
  response.setHeader('content-type', 'text/plain');
  response.end(`Hello from ${name}\n`);
});
server.listen(port, () => process.stdout.write(`listening on port ${port}\n`));
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
