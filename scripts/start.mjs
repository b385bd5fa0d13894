// `npm start`: set-up, then the local cluster of deploy/local.
await import('./setup.mjs');
await import('../deploy/local/dist/main.js');
