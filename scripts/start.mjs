// `npm start`: set-up, then the local cluster of deploy/local.
const usage = `npm start: three nodes on this machine, formed the way that three machines would be, with a web service on them. Ctrl-C removes everything.
It takes no arguments; of the environment it takes
  DOCKER_HOST                  the Docker engine that runs the tasks (default: unix:///var/run/docker.sock)
  SWARMCTL_LOCAL_RUNTIME       docker or process (default: docker where an engine answers and has or gets an image, else process)
  SWARMCTL_LOCAL_CONTROL_PORT  the managers' port (default: 2377)
  SWARMCTL_LOCAL_WEB_PORT      the web service's port (default: 8080)
  SWARMCTL_LOCAL_DATA          the nodes' data folder
Both ports must be free on 127.0.0.1, .2 and .3.`;
const [first] = process.argv.slice(2);
if (first === '--help' || first === '-h') {
  console.log(usage);
  process.exit(0);
}
if (first !== undefined) {
  console.error(`npm start: unknown argument '${first}'\n\n${usage}`);
  process.exit(2);
}
const { build } = await import('./setup.mjs');
build('packages/daemon', 'packages/cli', 'deploy/local');
await import('../deploy/local/dist/main.js');
