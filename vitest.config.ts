import { configDefaults, defineConfig } from 'vitest/config';

// Tests run on the sources: the `source` export condition leads every package import to its `src` folder.
const resolve = { conditions: ['source'] };
const ssr = { resolve: { conditions: ['source'] } };

/** Tests that start a private Docker engine (root and dockerd). */
const docker = ['packages/*/src/**/*.docker.test.ts', 'test/kit/**/*.docker.test.ts'];

/** End-to-end tests that count what a busy machine loses, or use its own network, which others watch: one file at a time, after the others. */
const alone = [
  'test/e2e/{docker,http,process,start}.e2e.test.ts',
  'test/lab/{encrypted,ingress,overlay}.e2e.test.ts',
  'test/raft/**/*.e2e.test.ts',
];

/** Tests in network namespaces of their own (root, nft). */
const netns = ['packages/*/src/**/*.netns.test.ts'];

export default defineConfig({
  test: {
    projects: [
      {
        resolve,
        ssr,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'test/kit/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...docker, ...netns],
          // Some play whole tables; a busy machine is no failure.
          testTimeout: 60_000,
          maxWorkers: '100%',
        },
      },
      { resolve, ssr, test: { name: 'sim', include: ['test/sim/**/*.test.ts'], testTimeout: 120_000 } },
      {
        resolve,
        ssr,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.e2e.test.ts', 'test/lab/**/*.e2e.test.ts'],
          exclude: [...configDefaults.exclude, ...alone],
          // Each file has network namespaces, folders and ports of its own, and waits for others half of the time.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'e2e-alone',
          include: alone,
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'load',
          include: ['test/lab/**/*.load.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        resolve,
        ssr,
        test: { name: 'netns', include: netns, fileParallelism: false, testTimeout: 30_000, hookTimeout: 60_000 },
      },
      {
        resolve,
        ssr,
        test: { name: 'docker', include: docker, fileParallelism: false, testTimeout: 30_000, hookTimeout: 60_000 },
      },
    ],
  },
});
