import { describeProgress, messageName, messageTypes, roleName } from '../core/describe.ts';
import { message } from '../core/message.ts';
import { isStorageError, type StorageErrorCode } from '../core/storage-error.ts';
import type { ConfChange, MessageType, Snapshot, StepResult } from '../core/types.ts';
import { Cluster, type Member, type MemberConfig, type Recipient, refusal } from './cluster.ts';
import { parseChanges } from './confchange.ts';
import { describeEntries, describeMessage } from './describe.ts';
import { Output } from './output.ts';
import {
  argument,
  bareNumbers,
  type Command,
  type Directive,
  integer,
  isSet,
  parseCommand,
  truth,
  valuesOf,
} from './script.ts';
import { StepError } from './step-error.ts';

// The scripts of several members that interact: each directive is done, and what it printed is returned.

export class Interaction {
  readonly #output = new Output();
  readonly #cluster = new Cluster(this.#output);

  run(directive: Directive): string {
    this.#output.take();
    try {
      if (directive.name === 'propose-conf-change') {
        this.#proposeConfChange(directive);
      } else {
        this.#do(directive);
        for (const line of directive.input) this.#further(line);
      }
    } catch (error) {
      // Printed at every log level.
      return `${this.#output.take()}${textOf(error)}\n`;
    }
    const text = this.#output.take();
    if (text === '') return 'ok\n';
    return text.endsWith('\n') ? text : `${text}\n`;
  }

  /** Further lines are further commands, and go on after one that was refused. */
  #further(line: string): void {
    try {
      this.#do(parseCommand(line));
    } catch (error) {
      const text = textOf(error);
      if (this.#output.quiet) throw error;
      this.#output.write(text);
    }
  }

  #do(command: Command): void {
    const handler = this.#handlers[command.name];
    if (handler === undefined) throw new StepError('unknown command');
    handler(command);
  }

  readonly #handlers: Readonly<Record<string, (command: Command) => void>> = {
    _breakpoint: () => {},
    'add-nodes': (c) => this.#addNodes(c),
    campaign: (c) => this.#first(c).node.campaign(),
    compact: (c) => this.#compact(c),
    'deliver-msgs': (c) => this.#deliver(c),
    'process-ready': (c) => this.#each(c, 'handling Ready', (m) => this.#cluster.processReady(m)),
    'process-append-thread': (c) => this.#each(c, 'processing append thread', (m) => this.#cluster.processAppend(m)),
    'process-apply-thread': (c) => this.#each(c, 'processing apply thread', (m) => this.#cluster.processApply(m)),
    'log-level': (c) => this.#output.setLevel(c.args[0]!.key),
    'raft-log': (c) => this.#printLog(this.#first(c)),
    'raft-state': () => this.#printState(),
    'set-randomized-election-timeout': (c) => this.#first(c).node.setElectionTimeout(integer(argument(c, 'timeout'))),
    stabilize: (c) => this.#stabilize(c),
    status: (c) => this.#printStatus(this.#first(c)),
    tick: (c) => tick(this.#first(c), bareNumbers(c)[1]!),
    'tick-election': (c) => tick(this.#first(c), this.#first(c).electionTick),
    'tick-heartbeat': (c) => tick(this.#first(c), this.#first(c).heartbeatTick),
    'transfer-leadership': (c) =>
      this.#cluster.member(integer(argument(c, 'from'))).node.transferLeader(integer(argument(c, 'to'))),
    'forget-leader': (c) => this.#first(c).node.forgetLeader(),
    'send-snapshot': (c) => this.#sendSnapshot(c),
    propose: (c) => must(this.#first(c).node.propose(Buffer.from(c.args[1]?.key ?? ''))),
    'report-unreachable': (c) => this.#first(c).node.reportUnreachable(bareNumbers(c)[1]!),
    // Not etcd's:
    'report-snapshot': (c) => this.#reportSnapshot(c),
    'read-index': (c) => this.#readIndex(c),
  };

  #first(command: Command): Member {
    return this.#cluster.member(integer(command.args[0]?.key));
  }

  #members(command: Command): Member[] {
    return bareNumbers(command).map((id) => this.#cluster.member(id));
  }

  #each(command: Command, title: string, work: (member: Member) => void): void {
    const members = this.#members(command);
    for (const member of members) {
      if (members.length === 1) {
        work(member);
      } else {
        this.#output.write(`> ${member.id} ${title}\n`);
        this.#output.indented(() => work(member));
      }
    }
  }

  #addNodes(command: Command): void {
    const index = integer(argument(command, 'index') ?? '0');
    const voters = (valuesOf(command, 'voters') ?? []).map(integer);
    const learners = (valuesOf(command, 'learners') ?? []).map(integer);
    const confState = { voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false };
    const data = Buffer.from(argument(command, 'content') ?? '');
    const bootstrap = index > 0 || voters.length > 0 || learners.length > 0 || data.length > 0;
    if (bootstrap && index <= 1) throw new StepError('index must be specified as > 1 due to bootstrap');
    const snapshot: Snapshot = { meta: { index, term: bootstrap ? 1 : 0, confState }, data };
    for (let i = integer(command.args[0]?.key); i > 0; i--) this.#cluster.add(memberConfig(command), snapshot);
  }

  #proposeConfChange(directive: Directive): void {
    for (const { key, values } of directive.args) {
      if (values.length > 0 && key !== 'v1' && key !== 'transition') throw new StepError(`unknown command ${key}`);
    }
    const flag = argument(directive, 'v1') ?? 'false';
    const v1 = truth(flag);
    if (v1 === undefined) throw new StepError(`strconv.ParseBool: parsing "${flag}": invalid syntax`);
    const word = argument(directive, 'transition') ?? 'auto';
    const transition = transitions[word];
    if (transition === undefined) throw new StepError(`unknown transition ${word}`);
    const changes = parseChanges(directive.input.join(' '));
    if (v1 && (changes.length !== 1 || transition !== 'auto')) {
      throw new StepError('v1 conf change can only have one operation and no transition');
    }
    const change = { transition, changes, context: new Uint8Array(0) };
    must(this.#first(directive).node.proposeConfChange(change, v1));
  }

  #deliver(command: Command): void {
    const type = argument(command, 'type');
    const recipients = command.args.flatMap(({ key, values }): Recipient[] => {
      if (values.length === 0) return [{ id: integer(key), drop: false }];
      return key === 'drop' ? values.map((id) => ({ id: integer(id), drop: true })) : [];
    });
    let delivered = 0;
    for (const recipient of recipients) {
      delivered += this.#cluster.deliver(recipient, type === undefined ? undefined : typeOf(type));
    }
    if (delivered === 0) this.#output.write('no messages\n');
  }

  #stabilize(command: Command): void {
    const before = this.#output.level;
    const level = argument(command, 'log-level');
    if (level !== undefined) this.#output.setLevel(level);
    const members = this.#members(command);
    try {
      this.#cluster.stabilize(members.length === 0 ? this.#cluster.members : members);
    } finally {
      this.#output.setLevel(before);
    }
  }

  #compact(command: Command): void {
    const member = this.#first(command);
    member.storage.compact(bareNumbers(command)[1]!);
    this.#printLog(member);
  }

  #printLog({ storage }: Member): void {
    const [first, last] = [storage.firstIndex(), storage.lastIndex()];
    if (last < first) this.#output.write(`log is empty: first index=${first}, last index=${last}`);
    else this.#output.write(describeEntries(storage.entries(first, last + 1, Number.POSITIVE_INFINITY)));
  }

  #printState(): void {
    for (const { node } of this.#cluster.members) {
      const { id, role, term, leader, confState } = node.status();
      const isVoter = confState.voters.includes(id) || confState.votersOutgoing.includes(id);
      const voter = isVoter ? '(Voter)' : '(Non-Voter)';
      this.#output.write(`${id}: ${roleName(role)} ${voter} Term:${term} Lead:${leader}\n`);
    }
  }

  #printStatus({ node }: Member): void {
    for (const [id, pr] of node.status().progress) this.#output.write(`${id}: ${describeProgress(pr)}\n`);
  }

  #sendSnapshot(command: Command): void {
    const [from, to] = bareNumbers(command) as [number, number];
    const { node, storage } = this.#cluster.member(from);
    const m = message({ type: 'snap', from, to, term: node.status().term, snapshot: storage.snapshot() });
    this.#cluster.messages.push(m);
    this.#output.write(describeMessage(m));
  }

  /** `read-index ID CONTEXT`: what a member says that has no leader is all that is printed. */
  #readIndex(command: Command): void {
    const result = this.#first(command).node.readIndex(Buffer.from(command.args[1]?.key ?? ''));
    if (result !== 'ok') this.#output.write(`${result}\n`);
  }

  #reportSnapshot(command: Command): void {
    const failed = argument(command, 'status') === 'failure';
    this.#first(command).node.reportSnapshot(bareNumbers(command)[1]!, failed ? 'failed' : 'finished');
  }
}

const transitions: Readonly<Record<string, ConfChange['transition']>> = {
  auto: 'auto',
  implicit: 'joint-implicit',
  explicit: 'joint-explicit',
};

function must(result: StepResult): void {
  const text = refusal(result);
  if (text !== undefined) throw new StepError(text);
}

function tick({ node }: Member, times: number): void {
  for (let i = 0; i < times; i++) node.tick();
}

function typeOf(name: string): MessageType {
  const type = messageTypes.find((known) => messageName(known) === name);
  if (type === undefined) throw new SyntaxError(`unknown message type ${name}`);
  return type;
}

/** What went wrong in a command, in the words of what it was done to; anything else is thrown on. */
function textOf(error: unknown): string {
  if (error instanceof StepError) return error.message;
  if (isStorageError(error)) return storageErrors[error.code];
  throw error;
}

const storageErrors: Readonly<Record<StorageErrorCode, string>> = {
  compacted: 'requested index is unavailable due to compaction',
  unavailable: 'requested entry at index is unavailable',
  'snapshot-temporarily-unavailable': 'snapshot is temporarily unavailable',
};

/** The options of `add-nodes` that are numbers; the last three are not etcd's. */
const limits = {
  inflight: 'maxInflightMsgs',
  'max-committed-size-per-ready': 'maxCommittedSizePerReady',
  'max-inflight-bytes': 'maxInflightBytes',
  'max-size-per-msg': 'maxSizePerMsg',
  'max-uncommitted-size': 'maxUncommittedEntriesSize',
} as const;

function memberConfig(command: Command): MemberConfig {
  const is = (key: string): boolean => isSet(command, key);
  const readOnly = argument(command, 'read-only') ?? 'safe';
  if (readOnly !== 'safe' && readOnly !== 'lease-based') throw new StepError(`invalid read-only option "${readOnly}"`);
  const numbers = Object.entries(limits).flatMap(([key, option]): [string, number][] => {
    const text = argument(command, key);
    return text === undefined ? [] : [[option, integer(text)]];
  });
  return {
    ...(Object.fromEntries(numbers) as MemberConfig),
    asyncStorageWrites: is('async-storage-writes'),
    preVote: is('prevote'),
    checkQuorum: is('checkquorum'),
    disableConfChangeValidation: is('disable-conf-change-validation'),
    disableProposalForwarding: is('disable-proposal-forwarding'),
    stepDownOnRemoval: is('step-down-on-removal'),
    readOnlyOption: readOnly,
  };
}
