import { chmod, chown, lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bell, type Clock, ClusterError, delay, type Logger, messageOf, type Timer } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { answeredAddresses } from '../address.ts';
import { bindProblem, ingressClosed, logProblems } from '../problems.ts';
import type { IngressOptions } from '../types.ts';
import { Versions } from '../versions.ts';
import { type CertificateFile, CertificateFiles, type CertificateSource, digestOf } from './certificates.ts';
import { handoverFolder, renderConfig } from './config.ts';
import { Haproxy, whyNoHaproxy } from './haproxy.ts';
import { connectionsAllowed, hasIpv6, lesserUser, tryPort } from './host.ts';
import { everyAddress, type HttpListener, type HttpPlan, planHttp } from './plan.ts';
import { parseServers, serverCommands } from './servers.ts';

// Published ports of HTTP, which services share by host and path. HAProxy, run beside this daemon, does it rather than code of our own: of all
// that was looked at it alone has streaming both ways, HTTP/2 and WebSocket, strict parsing, and takes tasks in and out while requests go on.
//
// The port is bound on the host: the kernel's ingress has no rule for it, so HAProxy sees the clients' own addresses. It reaches tasks as the
// proxy does: those here at their own address, others at the port that their node publishes for them. A change of tasks is a command to the
// running HAProxy; only one of services, routes or certificates is a reload, which loses no connection. It is started with the first such port,
// stopped with the last, goes on while this daemon restarts, and is found again by its socket. Certificates are files of memory (`folder`).

export interface HttpIngressOptions extends IngressOptions {
  /** Of this node alone, in memory, with a short path. It is made. */
  readonly folder: string;
}

export interface HttpIngressModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly certificates: CertificateSource;
}

const retryMs = 1_000;
const releaseMs = 2_000;
/** What HAProxy has taken, beside its configuration. */
const loadedFile = 'loaded.json';

interface Loaded {
  readonly shape: string;
  /** `address port` of its sockets. */
  readonly sockets: readonly string[];
}

type Certificates = ReadonlyMap<string, CertificateFile>;

const socketOf = ({ addr, port }: HttpListener) => `${addr} ${port}`;

export class HttpIngress {
  readonly #options: HttpIngressOptions;
  readonly #modules: HttpIngressModules;
  readonly #addresses: readonly string[];
  readonly #haproxy: Haproxy;
  readonly #certificates: CertificateFiles;
  readonly #bell = new Bell();
  readonly #unsubscribe: () => void;
  #wanted: readonly IngressEntry[] | undefined;
  readonly #versions = new Versions();
  #problems: ReadonlyMap<string, string> = new Map();
  #timer: Timer | undefined;
  readonly #user = process.getuid?.() === 0 ? lesserUser() : undefined;
  #planned: { readonly entries: readonly IngressEntry[]; readonly plan: HttpPlan } | undefined;
  /** What the latest configuration was made of. */
  #rendered: { readonly plan: HttpPlan; readonly from: string; readonly shape: string } | undefined;
  #hasHaproxy = false;
  /** Nothing runs, and nothing is left of it. */
  #hasEnded = false;
  #isClosed = false;
  readonly #work: Promise<void>;

  constructor(options: HttpIngressOptions, modules: HttpIngressModules) {
    this.#options = options;
    this.#modules = modules;
    this.#addresses = answeredAddresses(options);
    this.#haproxy = new Haproxy(options.folder, modules.clock, () => this.#bell.ring());
    this.#certificates = new CertificateFiles(options.folder, modules.certificates, (name) =>
      this.#haproxy.takesCertificate(name),
    );
    this.#unsubscribe = modules.certificates.onChange(() => this.#bell.ring());
    this.#work = this.#loop();
  }

  /** Makes these true; later calls replace earlier ones. Resolves when this or a newer table is in force; a port's problem is no failure. */
  apply(entries: Iterable<IngressEntry>): Promise<void> {
    if (this.#isClosed) return Promise.reject(ingressClosed());
    this.#wanted = [...entries];
    const done = this.#versions.next();
    this.#bell.ring();
    return done;
  }

  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** With `keep`, HAProxy goes on. */
  async close({ keep = false }: { readonly keep?: boolean } = {}): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#unsubscribe();
      this.#bell.ring();
    }
    await this.#work;
    this.#timer?.cancel();
    if (!keep) await this.#end();
  }

  async #loop(): Promise<void> {
    for (;;) {
      await this.#bell.wait();
      if (this.#isClosed) break;
      const version = this.#versions.latest;
      if (!this.#wanted) continue;
      let failure: unknown;
      try {
        this.#report(await this.#converge(this.#wanted));
      } catch (error) {
        failure = error;
        this.#report(new Map(this.#wanted.map(({ key }) => [key, messageOf(error)])));
        this.#again();
      }
      this.#versions.settle(version, failure);
    }
    this.#versions.rejectAll(ingressClosed());
  }

  async #converge(entries: readonly IngressEntry[]): Promise<Map<string, string>> {
    this.#timer?.cancel();
    const whole = this.#planOf(entries);
    if (whole.backends.size === 0) {
      await this.#end();
      return new Map(whole.problems);
    }
    const why = this.#hasHaproxy ? undefined : await whyNoHaproxy();
    this.#hasHaproxy = why === undefined;
    if (why !== undefined) {
      this.#again();
      return new Map(entries.map(({ key }) => [key, why]));
    }
    await this.#makeFolder();
    const problems = new Map(whole.problems);
    const certificates = await this.#writeCertificates(whole, problems);
    const workers = await this.#haproxy.workers();
    const loaded = workers.length > 0 ? await this.#loaded() : undefined;
    const listeners = await this.#openable(whole, certificates, loaded, problems);
    if (listeners.length === 0) {
      // HAProxy does not run for nothing; an address may still come to this machine.
      await this.#end();
      this.#again(problems.size > 0 ? retryMs : 5 * retryMs);
      return problems;
    }
    const failure = await this.#load(whole, listeners, certificates, workers.length > 0, loaded).then(
      () => undefined,
      messageOf,
    );
    if (failure !== undefined) for (const { key } of entries) problems.set(key, failure);
    // Also where an older configuration is in force: no request may come to a task that has left.
    const isLeaving = await this.#setServers(whole, failure === undefined);
    if (problems.size > 0 || isLeaving) this.#again();
    else this.#again(5 * retryMs);
    return problems;
  }

  /** Also sees to it that HAProxy is still there. */
  #again(afterMs = retryMs): void {
    this.#timer = this.#modules.clock.after(afterMs, () => this.#bell.ring(), { unref: true });
  }

  async #makeFolder(): Promise<void> {
    const { folder } = this.#options;
    this.#hasEnded = false;
    const user = this.#user;
    await mkdir(join(folder, handoverFolder), { recursive: true, mode: 0o700 });
    const stats = await lstat(folder);
    // It may lie where others may write.
    if (!stats.isDirectory() || stats.uid !== process.getuid?.())
      throw new ClusterError('failed-precondition', `${folder} must be a folder of this user; remove it`);
    // HAProxy finds its sockets there once it is somebody else.
    await chmod(folder, user ? 0o710 : 0o700);
    if (!user) return;
    await chown(folder, 0, user.gid);
    await chown(join(folder, handoverFolder), user.uid, user.gid);
  }

  /** By the names of the secrets in them. */
  async #writeCertificates(plan: HttpPlan, problems: Map<string, string>): Promise<Certificates> {
    const written = new Map<string, CertificateFile>();
    for (const { options, port, serviceId } of plan.backends.values()) {
      const { tls } = options;
      if (!tls) continue;
      const { file, problem } = await this.#certificates.write(tls);
      if (file) written.set(tls.join(), file);
      if (problem === undefined) continue;
      for (const { keys, port: at } of plan.listeners)
        for (const key of keys) if (at === port && key.endsWith(`#${serviceId}`)) problems.set(key, problem);
    }
    return written;
  }

  /** Those that HAProxy can have: with a certificate where they are of TLS, on ports that nobody else has. */
  async #openable(
    plan: HttpPlan,
    certificates: Certificates,
    loaded: Loaded | undefined,
    problems: Map<string, string>,
  ): Promise<HttpListener[]> {
    const found: HttpListener[] = [];
    for (const listener of plan.listeners) {
      if (listener.certificates && !listener.certificates.some(({ names }) => certificates.has(names.join()))) continue;
      const { addr, port, keys } = listener;
      if (!loaded?.sockets.includes(socketOf(listener))) {
        // On a port where HAProxy has another address it alone can try; the address has to be this machine's all the same.
        const isShared = loaded?.sockets.some((socket) => socket.endsWith(` ${port}`));
        const error = await tryPort(addr === everyAddress ? undefined : addr, isShared ? 0 : port).catch(
          (cause: NodeJS.ErrnoException) => cause,
        );
        if (error) {
          // An address of its own may well be another node's.
          const isElsewhere = error.code === 'EADDRNOTAVAIL' && !this.#addresses.includes(addr);
          if (!isElsewhere) for (const key of keys) problems.set(key, bindProblem(addr, port, error));
          continue;
        }
      }
      found.push(listener);
    }
    return found;
  }

  #planOf(entries: readonly IngressEntry[]): HttpPlan {
    if (this.#planned?.entries !== entries) {
      const { nodeId } = this.#options;
      this.#planned = { entries, plan: planHttp(entries, { nodeId, addresses: this.#addresses }) };
    }
    return this.#planned.plan;
  }

  async #load(
    whole: HttpPlan,
    listeners: readonly HttpListener[],
    certificates: Certificates,
    isRunning: boolean,
    loaded: Loaded | undefined,
  ): Promise<void> {
    const { folder } = this.#options;
    const around = { mostConnections: connectionsAllowed(), hasIpv6: hasIpv6() };
    const sockets = listeners.map(socketOf);
    const from = JSON.stringify([around, sockets, [...certificates]]);
    const rendered = this.#rendered;
    if (isRunning && rendered?.plan === whole && rendered.from === from && rendered.shape === loaded?.shape) return;
    const { files, shape: text } = renderConfig(
      { ...whole, listeners },
      {
        ...around,
        ...(this.#user && { user: this.#user }),
        certificate: (names) => certificates.get(names.join())?.name,
      },
    );
    const shape = digestOf(JSON.stringify([text, [...certificates]]));
    this.#rendered = { plan: whole, from, shape };
    if (isRunning && loaded?.shape === shape) return;
    for (const [name, content] of files) await write(join(folder, name), content);
    if (isRunning) await this.#haproxy.reload();
    else await this.#haproxy.start();
    await write(join(folder, loadedFile), JSON.stringify({ shape, sockets } satisfies Loaded));
    this.#modules.log.info({ ports: sockets, isRunning }, 'HAProxy has its configuration');
    const needed = new Set([...files.keys(), ...[...certificates.values()].map(({ name }) => name)]);
    for (const name of await readdir(folder))
      if (/\.(pem|map|certs)$/.test(name) && !needed.has(name)) await rm(join(folder, name), { force: true });
  }

  async #loaded(): Promise<Loaded | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#options.folder, loadedFile), 'utf8')) as Loaded;
    } catch {
      return undefined;
    }
  }

  /** In the worker that takes the connections. True while some servers are leaving. */
  async #setServers({ backends }: HttpPlan, isLoaded: boolean): Promise<boolean> {
    const [worker] = await this.#haproxy.workers();
    if (!worker) return false;
    const known = parseServers(await this.#haproxy.run(worker, ['show servers state']));
    const { commands, added, isLeaving } = serverCommands(known, backends);
    if (commands.length === 0) return false;
    const said = await this.#haproxy.run(worker, commands);
    const taken = said.filter((line) => line.includes('New server registered')).length;
    if (isLoaded && taken < added)
      throw new ClusterError('unavailable', `HAProxy took ${taken} of ${added} tasks: ${said.slice(0, 3).join(' ')}`);
    return isLeaving;
  }

  /** Without any port there is nothing to run. */
  async #end(): Promise<void> {
    if (this.#hasEnded) return;
    const loaded = await this.#loaded();
    await this.#haproxy.stop();
    for (const socket of loaded?.sockets ?? []) await this.#released(socket);
    await rm(this.#options.folder, { recursive: true, force: true });
    this.#hasEnded = true;
  }

  /** Nobody listens there any more, or has for too long. */
  async #released(socket: string): Promise<void> {
    const { clock } = this.#modules;
    const [addr = '', port] = socket.split(' ');
    const end = clock.monotonic() + releaseMs;
    const isTaken = () =>
      tryPort(addr === everyAddress ? undefined : addr, Number(port)).then(
        () => false,
        ({ code }: NodeJS.ErrnoException) => code === 'EADDRINUSE',
      );
    while ((await isTaken()) && clock.monotonic() < end) await delay(clock, 20);
  }

  #report(problems: ReadonlyMap<string, string>): void {
    logProblems(this.#modules.log, this.#problems, problems);
    this.#problems = problems;
  }
}

async function write(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
