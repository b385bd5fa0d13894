import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { renderConfig } from './config.ts';
import { whyNoHaproxy } from './haproxy.ts';
import { entryOf, freePort, HttpBench, makeCertificate } from './test-http.ts';

// What the ingress does while nothing changes: it looks after HAProxy, and no more.

vi.mock('./config.ts', async (original) => {
  const module = await original<typeof import('./config.ts')>();
  return { ...module, renderConfig: vi.fn(module.renderConfig) };
});

const why = await whyNoHaproxy();

describe.skipIf(why)(`ports of HTTP${why ? ` (skipped: ${why})` : ''}`, () => {
  let bench: HttpBench;
  beforeEach(() => {
    bench = new HttpBench();
  });
  afterEach(() => bench.close());

  test('are looked after without writing their configuration anew, until something of it changes', async () => {
    const port = await freePort();
    const task = await bench.task('a');
    const { key, cert } = makeCertificate('a.example.com');
    bench.certificates.set('one', `${key}${cert}`);
    await bench.ingress.apply([entryOf('s1', port, ['a.example.com'], [task], { tls: ['one'] })]);
    const rendered = vi.mocked(renderConfig);
    rendered.mockClear();
    const looked = vi.spyOn(bench.certificates, 'get');
    /** Has it look twice; once it looks for the second time, the first is done. */
    const lookAgain = async () => {
      for (let i = 0; i < 2; i++) {
        looked.mockClear();
        bench.certificates.set('another', String(i));
        await vi.waitFor(() => expect(looked).toHaveBeenCalled(), { timeout: 30_000 });
      }
    };
    await lookAgain();
    expect(rendered).not.toHaveBeenCalled();
    const other = makeCertificate('a.example.com');
    bench.certificates.set('one', `${other.key}${other.cert}`);
    await lookAgain();
    expect(rendered).toHaveBeenCalledTimes(1);
  });
});
