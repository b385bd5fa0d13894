import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { catalogue, type TestImage } from './catalogue.ts';
import { type TarEntry, tar } from './tar.ts';

// The test images as one archive that `docker load` takes: written without an engine and without a network, from the machine's static
// busybox, and kept in the folder for temporary files, so that many engines load it quickly.

const busyboxes = ['/bin/busybox', '/usr/bin/busybox'];

/** The path of the archive; made if it is not there yet. */
export function imageArchive(): string {
  const busybox = busyboxes.find((path) => existsSync(path));
  if (!busybox) throw new Error('the test images need a static busybox (package busybox-static)');
  const binary = readFileSync(busybox);
  const version = sha256(Buffer.concat([binary, Buffer.from(JSON.stringify(catalogue))])).slice(0, 16);
  const path = join(tmpdir(), `swarm-test-images-${version}.tar`);
  if (existsSync(path)) return path;
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, archive(baseLayer(busybox, binary)), { mode: 0o644 });
  renameSync(temporary, path);
  return path;
}

interface Layer {
  readonly digest: string;
  readonly bytes: Buffer;
}

function baseLayer(busybox: string, binary: Buffer): Layer {
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  return layer([
    { type: 'folder', path: 'bin' },
    { type: 'file', path: 'bin/busybox', mode: 0o755, content: binary },
    ...applets
      .filter((applet) => applet !== 'busybox')
      .map((applet): TarEntry => ({ type: 'link', path: `bin/${applet}`, target: 'busybox' })),
    { type: 'folder', path: 'etc' },
    {
      type: 'file',
      path: 'etc/passwd',
      content: 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n',
    },
    { type: 'file', path: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\n' },
    { type: 'folder', path: 'tmp', mode: 0o1777 },
  ]);
}

function archive(base: Layer): Buffer {
  const entries: TarEntry[] = [{ type: 'file', path: `${base.digest}.tar`, content: base.bytes }];
  const manifest = catalogue.map((image) => {
    const own = image.files.length > 0 ? layer(image.files) : undefined;
    if (own && !entries.some((entry) => entry.path === `${own.digest}.tar`))
      entries.push({ type: 'file', path: `${own.digest}.tar`, content: own.bytes });
    const layers = own ? [base, own] : [base];
    const config = JSON.stringify(configOf(image, layers));
    const configPath = `${sha256(Buffer.from(config))}.json`;
    entries.push({ type: 'file', path: configPath, content: config });
    return { Config: configPath, RepoTags: [image.name], Layers: layers.map(({ digest }) => `${digest}.tar`) };
  });
  return tar([...entries, { type: 'file', path: 'manifest.json', content: JSON.stringify(manifest) }]);
}

function configOf(image: TestImage, layers: readonly Layer[]) {
  return {
    architecture: ({ x64: 'amd64', arm64: 'arm64' } as Record<string, string>)[process.arch] ?? process.arch,
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: {
      Cmd: image.cmd,
      Env: ['PATH=/bin', ...(image.env ?? [])],
      WorkingDir: '/',
      ...(image.exposed && { ExposedPorts: Object.fromEntries(image.exposed.map((port) => [`${port}/tcp`, {}])) }),
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => `sha256:${digest}`) },
    history: layers.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'test kit' })),
  };
}

function layer(entries: readonly TarEntry[]): Layer {
  const bytes = tar(entries);
  return { digest: sha256(bytes), bytes };
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
