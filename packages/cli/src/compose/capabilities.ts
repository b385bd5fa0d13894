import type { ComposeService } from './service-shape.ts';

// Capabilities as Docker's clients write them: in full, each once, in order. ALL says it all, and what is added is not dropped.

export function capabilities({ cap_add: add, cap_drop: drop }: ComposeService) {
  const added = named(add ?? []);
  const dropped = named(drop ?? []).filter((one) => !added.includes(one));
  return {
    ...(added.length > 0 && { CapabilityAdd: added }),
    ...(dropped.length > 0 && { CapabilityDrop: dropped }),
  };
}

function named(given: readonly string[]): string[] {
  const all = given
    .map((one) => one.toUpperCase())
    .map((one) => (one === 'ALL' || one.startsWith('CAP_') ? one : `CAP_${one}`));
  return all.includes('ALL') ? ['ALL'] : [...new Set(all)].sort();
}
