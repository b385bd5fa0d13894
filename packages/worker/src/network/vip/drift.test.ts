import { expect, it } from 'vitest';
import { isAsWritten, readListing } from './drift.ts';

// As nft 1.0.6 lists it.
const listing = `table inet swarmd_vip {
	map vips4 {
		type ipv4_addr : verdict
		elements = { 10.0.0.100 : goto v_a000064,
			     10.0.0.101 : goto v_a000065 }
	}

	map vips6 {
		type ipv6_addr : verdict
		elements = { fd66::100 : goto v_fd660000000000000000000000000100 }
	}

	set idle4 {
		type ipv4_addr
		elements = { 10.0.0.102, 10.0.0.103 }
	}

	set idle6 {
		type ipv6_addr
	}

	chain v_a000064 {
		dnat ip to numgen inc mod 2 map { 0 : 10.0.0.2, 1 : 10.0.0.1 }
	}

	chain v_a000065 {
		dnat ip to 10.0.0.3
	}

	chain v_fd660000000000000000000000000100 {
		dnat ip6 to fd66::2
	}

	chain c_output {
		type nat hook output priority -110; policy accept;
		ip daddr vmap @vips4
	}
}
`;
const written = new Map([
  ['10.0.0.100', ['10.0.0.2', '10.0.0.1']],
  ['10.0.0.101', ['10.0.0.3']],
  ['10.0.0.102', []],
  ['10.0.0.103', []],
  ['fd66::100', ['fd66::2']],
]);

it('is read back as it was written, and the rest of it apart', () => {
  const listed = readListing(listing);
  expect(listed.turns).toEqual(written);
  expect(listed.fixed).toBe(
    'table inet swarmd_vip { map vips4 { type ipv4_addr : verdict } map vips6 { type ipv6_addr : verdict } set idle4 { type ipv4_addr } ' +
      'set idle6 { type ipv6_addr } chain c_output { type nat hook output priority -110; policy accept; ip daddr vmap @vips4 } }',
  );
  expect(isAsWritten(listed, written)).toBe(true);
});

it.each([
  ['a task more', '1 : 10.0.0.1 }', '1 : 10.0.0.9 }'],
  ['a rule before it', '\t\tdnat ip to 10.0.0.3', '\t\taccept\n\t\tdnat ip to 10.0.0.3'],
  ['no rule', '\t\tdnat ip to 10.0.0.3', ''],
  ['another chain', 'chain v_a000065 {', 'chain v_1 {'],
  ['an address less', '10.0.0.102, ', ''],
  ['an address that has a chain of its own no more', '10.0.0.100 : goto v_a000064,\n', ''],
])('%s is not what was written', (_, from, to) => {
  expect(listing).toContain(from);
  expect(isAsWritten(readListing(listing.replace(from, to)), written)).toBe(false);
});
