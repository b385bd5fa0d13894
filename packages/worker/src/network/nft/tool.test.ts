import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { NftTool } from './tool.ts';

const long = `# ${'x'.repeat(200_000)}\nadd table inet t\n`;

test('a short transaction stands on the command line, a long one in a file that is gone afterwards', async () => {
  const seen: { args: readonly string[]; text?: string }[] = [];
  const tool = new NftTool(async (_program, args) => {
    seen.push({ args, ...(args[0] === '-f' && { text: readFileSync(args[1] as string, 'utf8') }) });
    return { code: 0, stdout: '', stderr: '' };
  });
  await tool.apply('add table inet t\n');
  await tool.apply(long);
  expect(seen[0]).toEqual({ args: ['add table inet t\n'] });
  expect(seen[1]?.text).toBe(long);
  expect(existsSync(seen[1]?.args[1] as string)).toBe(false);
});

test('what nft says is the error', async () => {
  const tool = new NftTool(async () => ({ code: 1, stdout: '', stderr: 'Error: No such file or directory\nadd x\n' }));
  await expect(tool.apply('add x\n')).rejects.toThrow('nft failed: Error: No such file or directory add x');
});
