import { formatIpRange, type IpRange, isWithinRange, parseIp, parseIpRange } from './ip.ts';

// Lists in values of labels, separated by commas, and those of ranges of addresses.

export const listed = (value: string): string[] =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

/** Canonical, none within another; a malformed one is left out. */
export function rangesOf(value: string): string[] {
  const ranges = listed(value).flatMap((item) => parseIpRange(item) ?? []);
  const covered = (range: IpRange, at: number) =>
    ranges.some((other, i) => isWithinRange(range, other) && (i < at || !isWithinRange(other, range)));
  return ranges.filter((range, at) => !covered(range, at)).map(formatIpRange);
}

/** Undefined when the value is right, else what would be. */
export function wrongRanges(value: string): string | undefined {
  const items = listed(value);
  if (items.length === 0) return 'a list of ranges such as 10.0.0.0/8 or 10.0.0.0/8,fd00::/8';
  for (const item of items) {
    const range = parseIpRange(item);
    if (!range) return 'a list of ranges such as 10.0.0.0/8 or 10.0.0.0/8,fd00::/8';
    // A slip of the prefix must not open more than was meant.
    if (parseIp(item.split('/')[0] ?? '')?.value !== range.first) {
      return `a list of ranges: ${item} lies in ${formatIpRange(range)}; write that, or the address alone`;
    }
  }
  return undefined;
}
