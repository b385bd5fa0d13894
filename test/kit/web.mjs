// The web service of the end-to-end tests on the process runtime: the same answers as the image web:N. `/` says the version, `/cgi-bin/id` who
// answers, `/slow?ms=N` takes its time. Ends on SIGTERM once the requests in flight are answered; with CRASH set it exits at once.
import { createServer } from 'node:http';

const { VERSION = '1', PORT = '0', TASK_ID = '', TASK_NAME = '', TASK_SLOT = '', NODE_ID = '', CRASH } = process.env;
if (CRASH) {
  console.error('crashing');
  process.exit(3);
}
const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://x');
  response.setHeader('connection', 'close');
  if (url.pathname === '/cgi-bin/id') {
    response.end(
      `version=${VERSION}\nhostname=${process.pid}\ntask=${TASK_ID}\nname=${TASK_NAME}\nslot=${TASK_SLOT}\nnode=${NODE_ID}\n`,
    );
  } else if (url.pathname === '/slow') {
    setTimeout(() => response.end(`version ${VERSION}\n`), Number(url.searchParams.get('ms')));
  } else response.end(`version ${VERSION}\n`);
});
server.listen(Number(PORT), () => console.log(`version ${VERSION} serves on ${PORT}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
