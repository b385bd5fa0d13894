// Stands between the daemon and one task's command, and outlives the daemon: it owns the command's output, its health probes and its exit
// status. Usage: shim.mjs FOLDER, with FOLDER/task.json (process/task-folder.ts has its form). It depends on nothing but Node.
//
// What it leaves in the folder: `claim.json` (who it is, made once: a command is never run twice), `run.json` (the command's process),
// `output.log` (and .1, .2), `ctl.sock` (a line of JSON each way: signals in; the process and its health out), `exit.json` at the end.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const folder = process.argv[2] ?? '.';
process.chdir(folder);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGPIPE']) process.on(signal, () => {});
// For who sweeps up after a daemon that is gone: ends the task at once. (Killing the shim would leave its command running.)
process.on('SIGUSR2', () => killAll());

/** @type {import('../src/runtime/process/task-folder.ts').TaskConfig} */
const config = JSON.parse(fs.readFileSync('task.json', 'utf8'));
const logFiles = 3;
const maxLineBytes = 64 * 1024;
const clients = new Set();
let health = config.health ? 'starting' : undefined;
let running = false;

claim();
const server = listen();
const log = openLog();
const child = launch();

function identity(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  return {
    bootId: fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    pid,
    // Field 22, counted behind the name, which may hold anything.
    start: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19],
  };
}

/** Makes the file in one step; false when it is there already. */
function writeOnce(name, value) {
  const temporary = `.${name}.${process.pid}`;
  writeFully(temporary, value);
  try {
    fs.linkSync(temporary, name);
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  } finally {
    fs.unlinkSync(temporary);
  }
}

function writeFully(name, value) {
  const fd = fs.openSync(name, 'w', 0o600);
  fs.writeSync(fd, JSON.stringify(value));
  fs.fsyncSync(fd);
  fs.closeSync(fd);
}

function claim() {
  if (writeOnce('claim.json', identity(process.pid))) return;
  answer({ error: 'another shim has this task' });
  process.exit(1);
}

/** The daemon that started it waits for one line; it may be gone. */
function answer(message) {
  try {
    fs.writeSync(3, `${JSON.stringify(message)}\n`);
    fs.closeSync(3);
  } catch {}
}

/** A relative path, so that the length of the data folder's does not matter. */
function listen() {
  fs.rmSync('ctl.sock', { force: true });
  const listener = net.createServer((socket) => {
    clients.add(socket);
    socket.on('close', () => clients.delete(socket));
    socket.on('error', () => {});
    socket.write(`${JSON.stringify({ pid: child.pid, health })}\n`);
    let rest = '';
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) obey(line);
    });
  });
  listener.listen('ctl.sock');
  return listener;
}

function obey(line) {
  try {
    const { signal } = JSON.parse(line);
    if (signal === 'SIGKILL') killAll();
    // To the command alone, as an engine does; what it leaves behind is killed when it ends.
    else if (running) process.kill(child.pid, signal);
  } catch (error) {
    process.stderr.write(`control: ${error.message}\n`);
  }
}

function tell(message) {
  for (const socket of clients) socket.write(`${JSON.stringify(message)}\n`);
}

/** The command inherits the cgroups that the shim is in at that moment; then the shim goes back, so that no limit ever ends it. */
function launch() {
  const [program, ...args] = config.command;
  move('enter');
  const started = spawn(program, args, {
    cwd: config.cwd,
    env: config.env,
    ...(config.uid !== undefined && { uid: config.uid }),
    ...(config.gid !== undefined && { gid: config.gid }),
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  move('leave');
  for (const { file, value } of config.lateLimits ?? []) attempt(`limit ${file}`, () => fs.writeFileSync(file, value));
  started.once('error', (error) => {
    if (running) return;
    const text = `${program} cannot be started: ${error.code === 'ENOENT' ? 'no such program' : error.message}`;
    finish({ code: error.code === 'ENOENT' ? 127 : 126, error: text });
    answer({ error: text, permanent: true });
    process.exit(0);
  });
  if (started.pid === undefined) return started;
  running = true;
  writeOnce('run.json', identity(started.pid));
  collect(started.stdout, 'o');
  collect(started.stderr, 'e');
  const closed = new Promise((resolve) => started.once('close', resolve));
  started.once('exit', (code, signal) => void end(code ?? 128 + (os.constants.signals[signal] ?? 0), closed));
  answer({ pid: started.pid });
  if (config.health) void probeForever();
  // Without its folder nobody knows of the task any more.
  setInterval(() => fs.existsSync(`${folder}/task.json`) || killAll(), 2000).unref();
  return started;
}

function move(way) {
  for (const cgroup of config.cgroups ?? []) {
    attempt(`cgroup ${cgroup[way]}`, () => fs.writeFileSync(cgroup[way], String(process.pid)));
  }
}

function attempt(what, action) {
  try {
    action();
  } catch (error) {
    process.stderr.write(`${what}: ${error.message}\n`);
  }
}

/** Its process group, and whatever left that group but not the cgroup. */
function killAll() {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {}
  for (const { enter } of config.cgroups ?? []) {
    let pids = [];
    try {
      pids = fs.readFileSync(enter, 'utf8').split('\n').filter(Boolean).map(Number);
    } catch {}
    for (const pid of pids) {
      try {
        if (pid !== process.pid) process.kill(pid, 'SIGKILL');
      } catch {}
    }
  }
}

async function end(code, closed) {
  running = false;
  const oomKilled = countOomKills() > 0;
  killAll();
  // Whoever still holds the pipes has been killed; what they wrote is read to its end.
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 2000))]);
  log.end();
  // Whoever removes the task does it again, should one still be busy.
  for (const { enter } of config.cgroups ?? []) attempt('cgroup', () => fs.rmdirSync(path.dirname(enter)));
  finish({ code, ...(oomKilled && { oomKilled }) });
  server.close();
  for (const socket of clients) socket.end();
  setTimeout(() => process.exit(0), 1000).unref();
  if (clients.size === 0) process.exit(0);
}

function finish(status) {
  try {
    writeOnce('exit.json', { ...status, at: new Date().toISOString() });
    fs.rmSync('ctl.sock', { force: true });
  } catch (error) {
    process.stderr.write(`exit status: ${error.message}\n`);
  }
}

function countOomKills() {
  try {
    return Number(/^oom_kill (\d+)/m.exec(fs.readFileSync(config.oomFile, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Splits an output into lines and writes each with its time: `TIME o|e TEXT`. */
function collect(stream, mark) {
  let rest = Buffer.alloc(0);
  stream.on('data', (chunk) => {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    for (;;) {
      const newline = rest.indexOf(10);
      if (newline < 0 && rest.length < maxLineBytes) break;
      const length = newline < 0 || newline > maxLineBytes ? maxLineBytes : newline;
      log.write(mark, rest.subarray(0, length));
      rest = rest.subarray(length === newline ? length + 1 : length);
    }
  });
  stream.on('error', () => {});
  stream.once('end', () => rest.length > 0 && log.write(mark, rest));
}

function openLog() {
  let fd = fs.openSync('output.log', 'a', 0o600);
  let size = 0;
  const rotate = () => {
    fs.closeSync(fd);
    for (let i = logFiles - 2; i >= 0; i--) {
      const from = i === 0 ? 'output.log' : `output.log.${i}`;
      if (fs.existsSync(from)) fs.renameSync(from, `output.log.${i + 1}`);
    }
    fd = fs.openSync('output.log', 'a', 0o600);
    size = 0;
  };
  return {
    write(mark, text) {
      try {
        const line = Buffer.concat([Buffer.from(`${now()} ${mark} `), text, Buffer.from('\n')]);
        if (size > 0 && size + line.length > config.logFileBytes) rotate();
        fs.writeSync(fd, line);
        size += line.length;
      } catch (error) {
        // A full disk costs lines, not the task.
        process.stderr.write(`log: ${error.message}\n`);
      }
    },
    end() {
      fs.closeSync(fd);
    },
  };
}

/** RFC 3339 with nine digits, of which the last three are nought. */
function now() {
  const micros = Math.round((performance.timeOrigin + performance.now()) * 1000);
  const ms = Math.floor(micros / 1000);
  return `${new Date(ms).toISOString().slice(0, -1)}${String(micros % 1000).padStart(3, '0')}000Z`;
}

async function probeForever() {
  const { intervalMs, startIntervalMs, startPeriodMs, timeoutMs, retries } = config.health;
  const begun = performance.now();
  let failing = 0;
  for (;;) {
    const inStartPeriod = health === 'starting' && performance.now() - begun < startPeriodMs;
    await new Promise((resolve) => setTimeout(resolve, inStartPeriod ? startIntervalMs : intervalMs));
    if (!running) return;
    const well = await probe(timeoutMs);
    if (!running) return;
    failing = well ? 0 : failing + 1;
    const forgiven = health === 'starting' && performance.now() - begun < startPeriodMs;
    if (forgiven && !well) failing = 0;
    const before = health;
    if (well) health = 'healthy';
    else if (failing >= retries) health = 'unhealthy';
    if (health !== before) tell({ health });
  }
}

function probe(timeoutMs) {
  const [program, ...args] = config.health.command;
  return new Promise((resolve) => {
    const prober = spawn(program, args, {
      cwd: config.cwd,
      env: config.env,
      ...(config.uid !== undefined && { uid: config.uid }),
      ...(config.gid !== undefined && { gid: config.gid }),
      detached: true,
      stdio: 'ignore',
    });
    const timer = setTimeout(() => {
      try {
        process.kill(-prober.pid, 'SIGKILL');
      } catch {}
    }, timeoutMs);
    const done = (well) => {
      clearTimeout(timer);
      resolve(well);
    };
    prober.once('error', () => done(false));
    prober.once('exit', (code) => done(code === 0));
  });
}
