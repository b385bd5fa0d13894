import { defineConfig } from 'vitest/config';

// Tests run on the sources: the `source` export condition leads every package import to its `src` folder.
const resolve = { conditions: ['source'] };
const ssr = { resolve: { conditions: ['source'] } };

export default defineConfig({
  test: {
    projects: [
      { resolve, ssr, test: { name: 'unit', include: ['packages/*/src/**/*.test.ts', 'test/kit/**/*.test.ts'] } },
      { resolve, ssr, test: { name: 'sim', include: ['test/sim/**/*.test.ts'], testTimeout: 120_000 } },
    ],
  },
});
