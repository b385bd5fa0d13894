import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImages, type Engine, noEngine, startEngine } from './engine.ts';

const missing = noEngine();

describe.skipIf(missing)(`private engines${missing ? ` (${missing} is missing)` : ''}`, () => {
  const engines: Engine[] = [];
  const folders: string[] = [];

  beforeAll(async () => {
    const start = async (name: string) => {
      const dataRoot = mkdtempSync(join(tmpdir(), `swarm-engine-${name}-`));
      folders.push(dataRoot);
      const engine = await startEngine({ name, dataRoot });
      engines.push(engine);
      await buildImages(engine.socket);
    };
    await start('one');
    await start('two');
  });
  afterAll(() => Promise.all(engines.map((engine) => engine.stop())));

  const output = async (engine: Engine, image: string, command: string[]) => {
    let text = '';
    const [result, container] = await engine.docker.run(
      image,
      command,
      { write: (chunk: Buffer) => (text += chunk), end() {}, on() {}, once() {}, emit() {} } as never,
      { Tty: true },
    );
    await container.remove();
    return { code: result.StatusCode, text: text.trim() };
  };

  it('live side by side, each with the test images', async () => {
    for (const engine of engines) {
      expect(await output(engine, 'bb:1', ['sh', '-c', 'echo hello; exit 4'])).toEqual({ code: 4, text: 'hello' });
      const tags = (await engine.docker.listImages()).flatMap((image) => image.RepoTags ?? []);
      expect(tags).toEqual(expect.arrayContaining(['web:1', 'web:2', 'slow:1', 'crash:1', 'stubborn:1', 'bb:1']));
    }
  });

  it('serve web images at the container address and at a published port', async () => {
    const [engine] = engines as [Engine];
    const container = await engine.docker.createContainer({
      Image: 'web:2',
      Env: ['TASK_ID=t1'],
      HostConfig: { PortBindings: { '8080/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] } },
    });
    await container.start();
    const { NetworkSettings } = await container.inspect();
    const published = `http://127.0.0.1:${NetworkSettings.Ports['8080/tcp']?.[0]?.HostPort}`;
    const direct = `http://${NetworkSettings.Networks['bridge']?.IPAddress}:8080`;
    await expect.poll(() => fetch(direct).then((answer) => answer.text(), String)).toBe('version 2\n');
    expect(await (await fetch(`${published}/cgi-bin/id`)).text()).toContain('task=t1\n');
    const started = performance.now();
    await container.stop({ t: 10 });
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('leave nothing behind', async () => {
    const engine = engines.pop() as Engine;
    const dataRoot = folders.pop() as string;
    await engine.docker.createContainer({ Image: 'stubborn:1' }).then((container) => container.start());
    await engine.stop();
    expect(existsSync(dataRoot)).toBe(false);
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(dataRoot);
    await engine.stop();
  });
});
