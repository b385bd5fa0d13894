#!/usr/bin/env node
// Before anything else is loaded: the name that `ps` shows, and threads enough that the log's fdatasync never waits behind DNS or other files.
process.title = 'swarmd';
process.env.UV_THREADPOOL_SIZE ??= '16';

const { main } = await import('../dist/main.js');
await main(process.argv.slice(2));
