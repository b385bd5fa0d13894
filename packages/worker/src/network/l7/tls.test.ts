import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectH2, createServer as createH2, type Http2Server } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { checkCertificate } from '@swarmctl/shared/kit';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { whyNoHaproxy } from './haproxy.ts';
import { backendOf, entryOf, freePort, HttpBench, makeCertificate } from './test-http.ts';

const why = await whyNoHaproxy();

let first: ReturnType<typeof makeCertificate>;
let second: typeof first;
beforeAll(() => {
  first = makeCertificate('a.example.com');
  second = makeCertificate('*.example.org');
});

describe.skipIf(why)(`ports of HTTP with TLS and HTTP/2${why ? ` (skipped: ${why})` : ''}`, () => {
  let bench: HttpBench;
  let port: number;
  beforeEach(async () => {
    bench = new HttpBench();
    port = await freePort();
  });
  afterEach(() => bench.close());

  const open = async (servername: string, ALPNProtocols = ['h2', 'http/1.1']): Promise<TLSSocket> => {
    const socket = connectTls({ host: bench.addr, port, servername, ALPNProtocols, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    return socket;
  };
  /** The subject of the certificate that a host's clients see. */
  const shown = async (servername: string): Promise<string> => {
    const socket = await open(servername);
    const { subject } = socket.getPeerX509Certificate() ?? {};
    socket.destroy();
    return subject ?? '';
  };
  const get = (host: string, path = '/'): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = { host: bench.addr, port, path, servername: host, headers: { host } };
      const request = httpsRequest({ ...options, rejectUnauthorized: false, agent: false }, (response) => {
        response.setEncoding('utf8').on('data', resolve);
      });
      request.once('error', reject);
      request.end();
    });

  test('show each host its certificate, tell the task of https, and refuse hosts that have none', async () => {
    const a = await bench.task('a', (request, response) => response.end(`a ${request.headers['x-forwarded-proto']}`));
    const b = await bench.task('b');
    bench.certificates.set('one', `${first.key}${first.cert}`);
    bench.certificates.set('two.crt', second.cert);
    bench.certificates.set('two.key', second.key);
    await bench.ingress.apply([
      entryOf('s1', port, ['a.example.com'], [a], { tls: ['one'] }),
      entryOf('s2', port, ['*.example.org'], [b], { tls: ['two.crt', 'two.key'] }),
      entryOf('s3', port, ['a.example.com/b'], [b]),
    ]);
    expect(bench.ingress.problems()).toEqual(new Map());
    expect(await shown('a.example.com')).toBe('CN=a.example.com');
    expect(await shown('x.example.org')).toBe('CN=*.example.org');
    await expect(shown('other.net')).rejects.toThrow();
    expect(await get('a.example.com')).toBe('a https');
    expect(await get('a.example.com', '/b')).toBe('b');
    expect(await get('x.example.org')).toBe('b');
    await expect(bench.ask(port, '/')).rejects.toThrow();
    const old = connectTls({
      host: bench.addr,
      port,
      servername: 'a.example.com',
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1',
    });
    await expect(once(old, 'secureConnect')).rejects.toThrow();
  });

  test('follow a changed secret, wait for one that is to come, and say what is wrong with one', async () => {
    const a = await bench.task('a');
    const entries = [entryOf('s1', port, ['a.example.com'], [a], { tls: ['one'] })];
    const problem = () => bench.ingress.problems().get(`tcp/${port}#s1`);
    await bench.ingress.apply(entries);
    expect(problem()).toBe('secret one is not here yet');
    await expect(open('a.example.com')).rejects.toThrow('ECONNREFUSED');
    bench.certificates.set('one', `${first.cert}${second.key}`);
    await bench.ingress.apply(entries);
    expect(problem()).toMatch(/^the certificate of secret one cannot be used: the first certificate is not of this/);
    bench.certificates.set('one', `${first.cert}${first.key}`);
    await bench.ingress.apply(entries);
    expect(problem()).toBeUndefined();
    const kept = await open('a.example.com', ['http/1.1']);
    const next = makeCertificate('a.example.com');
    bench.certificates.set('one', `${next.cert}${next.key}`);
    await bench.ingress.apply(entries);
    const socket = await open('a.example.com');
    expect(socket.getPeerX509Certificate()?.fingerprint256).toBe(new X509Certificate(next.cert).fingerprint256);
    socket.destroy();
    // One that was open before is still served.
    kept.write('GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n');
    expect(String((await once(kept, 'data'))[0])).toMatch(/^HTTP\/1.1 200/);
    kept.destroy();
  });

  test('go on with all else beside a certificate that HAProxy does not take', async () => {
    const [a, b] = [await bench.task('a'), await bench.task('b')];
    const weak = makeCertificate('b.example.com', 'rsa:1024');
    bench.certificates.set('one', `${first.cert}${first.key}`);
    bench.certificates.set('weak', `${weak.cert}${weak.key}`);
    await bench.ingress.apply([
      entryOf('s1', port, ['a.example.com'], [a], { tls: ['one'] }),
      entryOf('s2', port, ['b.example.com'], [b], { tls: ['weak'] }),
    ]);
    expect(await get('a.example.com')).toBe('a');
    await expect(shown('b.example.com')).rejects.toThrow();
    expect([...bench.ingress.problems()]).toEqual([
      [`tcp/${port}#s2`, expect.stringMatching(/^the certificate of secret weak cannot be used: HAProxy does not/)],
    ]);
  });

  test('keep a certificate over a restart of the daemon, whose secrets come later', async () => {
    const a = await bench.task('a');
    const entries = [entryOf('s1', port, ['a.example.com'], [a], { tls: ['one'] })];
    bench.certificates.set('one', `${first.cert}${first.key}`);
    await bench.ingress.apply(entries);
    await bench.ingress.close({ keep: true });
    bench.certificates.clear();
    await bench.open().apply(entries);
    expect(await get('a.example.com')).toBe('a');
  });

  const overH2 = (session: ClientHttp2Session, headers: Record<string, string>, body = ''): Promise<string> =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ':method': body ? 'POST' : 'GET', ':path': '/', ...headers });
      let text = '';
      let trailers = '';
      stream.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      stream.on('trailers', (given) => {
        trailers = ` ${given['grpc-status']}`;
      });
      stream.once('end', () => resolve(`${text}${trailers}`));
      stream.once('error', reject);
      if (body) stream.end(body);
    });

  test('speak HTTP/2 by ALPN and without TLS to clients, many requests on one connection', async () => {
    const [a, b] = [await bench.task('a'), await bench.task('b')];
    bench.certificates.set('one', `${first.cert}${first.key}`);
    const plain = await freePort();
    await bench.ingress.apply([
      entryOf('s1', port, ['a.example.com'], [a, b], { tls: ['one'] }),
      entryOf('s2', plain, ['*'], [a, b]),
    ]);
    const https = connectH2(`https://${bench.addr}:${port}`, {
      servername: 'a.example.com',
      rejectUnauthorized: false,
    });
    const http = connectH2(`http://${bench.addr}:${plain}`);
    for (const session of [https, http]) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => overH2(session, { ':authority': 'a.example.com' })),
      );
      expect(answers.filter((one) => one === 'a')).toHaveLength(10);
      expect(answers.filter((one) => one === 'b')).toHaveLength(10);
      session.close();
    }
  });

  test('speak HTTP/2 to tasks that ask for it, with trailers as gRPC needs them', async () => {
    const server: Http2Server = createH2();
    server.on('stream', (stream, headers) => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.on('data', (chunk) => stream.write(`${headers['te']} ${headers['x-forwarded-for']} ${chunk}`));
      stream.on('end', () => stream.end());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const task = backendOf('g', (server.address() as AddressInfo).port);
    await bench.ingress.apply([entryOf('s1', port, ['*'], [], { h2: true })]);
    await bench.ingress.apply([entryOf('s1', port, ['*'], [task], { h2: true })]);
    const session = connectH2(`http://${bench.addr}:${port}`);
    expect(await overH2(session, { te: 'trailers', ':authority': 'g' }, 'hello')).toBe('trailers 127.0.0.1 hello 0');
    session.close();
    server.close();
  });
});

describe('a certificate', () => {
  const problem = (text: string) => checkCertificate(text);
  test('comes out leaf first, then its chain, then the key, whatever the order and what is between', () => {
    const bare = (pem: string) => pem.trim();
    const checked = checkCertificate(`# ours\n${first.key}\nx\n${first.cert}\n${second.cert}`);
    expect(checked).toEqual({ pem: `${bare(first.cert)}\n${bare(second.cert)}\n${bare(first.key)}\n` });
  });

  test('is refused in words that show nothing of it', () => {
    expect(problem('hello')).toEqual({ problem: 'it has no certificate in PEM' });
    expect(problem(first.cert)).toEqual({ problem: 'it has no private key in PEM' });
    expect(problem(first.cert + first.key + first.key)).toEqual({ problem: 'it has more than one private key in PEM' });
    expect(problem(second.cert + first.key)).toEqual({ problem: expect.stringContaining('not of this private key') });
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    const { problem: text } = problem(broken + first.key) as { problem: string };
    expect(text).toMatch(/^it cannot be read: /);
    expect(text).not.toContain(first.key.split('\n')[1]);
  });
});
