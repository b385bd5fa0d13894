// `npm start`: set-up, then the local cluster of deploy/local.
import { build } from './setup.mjs';

build('packages/daemon', 'packages/cli', 'deploy/local');
await import('../deploy/local/dist/main.js');
