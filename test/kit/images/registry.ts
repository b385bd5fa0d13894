import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { tar } from './tar.ts';

// A registry on loopback that holds one image, `tiny:1`: enough for an engine to pull from.

export interface Registry {
  /** `127.0.0.1:PORT`. */
  readonly addr: string;
  /** Resolves at the first request. */
  readonly asked: Promise<void>;
  close(): Promise<void>;
}

/** A silent one takes requests and never answers. */
export async function startRegistry(options: { silent?: boolean } = {}): Promise<Registry> {
  const { manifest, blobs } = tinyImage();
  let ask = () => {};
  const asked = new Promise<void>((resolve) => {
    ask = resolve;
  });
  const server = createServer((request, response) => {
    ask();
    if (options.silent) return;
    const url = request.url ?? '';
    const digest = /\/blobs\/(.+)$/.exec(url)?.[1] ?? '';
    const answer = (status: number, type: string, body: Buffer) => {
      response.writeHead(status, {
        'content-type': type,
        'content-length': body.length,
        'docker-content-digest': digestOf(body),
      });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    if (url === '/v2/') answer(200, 'application/json', Buffer.from('{}'));
    else if (url === '/v2/tiny/manifests/1' || url === `/v2/tiny/manifests/${digestOf(manifest)}`)
      answer(200, manifestType, manifest);
    else if (url.startsWith('/v2/tiny/') && blobs.has(digest))
      answer(200, 'application/octet-stream', blobs.get(digest) ?? Buffer.alloc(0));
    else
      answer(
        404,
        'application/json',
        Buffer.from('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'),
      );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    addr: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const manifestType = 'application/vnd.docker.distribution.manifest.v2+json';
const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

function tinyImage(): { manifest: Buffer; blobs: Map<string, Buffer> } {
  const files = tar([{ type: 'file', path: 'hello', content: 'hello\n' }]);
  const layer = gzipSync(files);
  const config = Buffer.from(
    JSON.stringify({
      architecture: ({ x64: 'amd64' } as Record<string, string>)[process.arch] ?? process.arch,
      os: 'linux',
      config: { Cmd: ['/hello'] },
      rootfs: { type: 'layers', diff_ids: [digestOf(files)] },
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: {
        mediaType: 'application/vnd.docker.container.image.v1+json',
        size: config.length,
        digest: digestOf(config),
      },
      layers: [
        {
          mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
          size: layer.length,
          digest: digestOf(layer),
        },
      ],
    }),
  );
  return {
    manifest,
    blobs: new Map([
      [digestOf(config), config],
      [digestOf(layer), layer],
    ]),
  };
}
