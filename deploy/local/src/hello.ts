import { createServer } from 'node:http';
import { hostname } from 'node:os';

// The web service of the local cluster where containers are not to be had: says which replica answered. Listens on PORT.

const name = `${process.env['TASK_NAME'] ?? hostname()}`;
const server = createServer((_request, response) => {
  response.setHeader('content-type', 'text/plain');
  response.end(`Hello from ${name}\n`);
});
server.listen(Number(process.env['PORT'] ?? 8080));
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
