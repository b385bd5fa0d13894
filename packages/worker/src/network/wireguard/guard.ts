// What keeps packets of encrypted networks from being sent or taken in clear, whatever else goes wrong: outside the tunnel there are none of
// them, and inside there is nothing else.

export interface Guarded {
  readonly device: string;
  /** UDP, of VXLAN. */
  readonly port: number;
  readonly vnis: readonly number[];
}

/** The whole table, in place of whatever was there; none without networks. */
export function guardText(table: string, { device, port, vnis }: Guarded): string {
  const head = [`table inet ${table}`, `delete table inet ${table}`];
  if (vnis.length === 0) return `${head.join('\n')}\n`;
  // A network's number is behind the head of UDP and the first word of VXLAN.
  const theirs = `udp dport ${port} @th,96,24 { ${vnis.join(', ')} }`;
  const lines = [
    ...head,
    `table inet ${table} {`,
    '  chain c_input {',
    '    type filter hook input priority -10; policy accept;',
    `    iifname != "${device}" ${theirs} drop`,
    `    iifname "${device}" meta l4proto != udp drop`,
    `    iifname "${device}" udp dport != ${port} drop`,
    '  }',
    '  chain c_forward {',
    '    type filter hook forward priority -10; policy accept;',
    `    iifname "${device}" drop`,
    `    oifname "${device}" drop`,
    '  }',
    '  chain c_postrouting {',
    '    type filter hook postrouting priority 300; policy accept;',
    `    oifname != "${device}" ${theirs} drop`,
    '  }',
    '}',
  ];
  return `${lines.join('\n')}\n`;
}
