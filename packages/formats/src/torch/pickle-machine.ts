/**
 * A restricted pickle machine: runs the opcodes that build data, calls nothing but a fixed list of builders.
 *
 * Pickle is a stack program that can name and call any Python function. Here a name outside the list in
 * `globals.ts` ends the reading at that opcode, before anything is called, and all memory is counted
 * against a budget, so a small pickle cannot grow large (copies of copies, endless memo entries).
 * Opcodes: Lib/pickletools.py, protocols 0 to 5 as far as checkpoints use them. Longer than most files, since the
 * opcodes share one stack, one memo and one budget.
 */
import { findGlobal } from './globals.ts';
import { parseDecimal, parseFloating, readTwosComplement } from './pickle-numbers.ts';
import type { PickleSource } from './pickle-source.ts';
import type { PickleValue, TorchDict, TorchKey, TorchNamespace, TorchValue } from './values.ts';
import { type CallContext, describe, isKey, kindOf, type NumpyDTypeValue, type PickleGlobal } from './values.ts';

/** Units of about 16 bytes: 256 MiB, enough for the names and shapes of some 80,000 tensors. */
const BUDGET = 1 << 24;
/** An empty container costs about this many units. */
const CONTAINER = 12;
/** Bytes of the longest whole number. */
const LONGEST_INTEGER = 1024;

/** Turns a persistent id into a value (a storage); throws for ids that it does not know. */
export type PersistentLoad = (id: readonly PickleValue[], context: CallContext) => PickleValue;

/** Runs one pickle from the source up to its STOP and returns its value, not yet checked (`check-value.ts`). */
export function runPickle(source: PickleSource, persistentLoad: PersistentLoad): PickleValue {
  const machine = new PickleMachine(source, persistentLoad);
  return machine.run();
}

class PickleMachine {
  private readonly source: PickleSource;
  private readonly persistentLoad: PersistentLoad;
  private stack: PickleValue[] = [];
  /** Stack heights at open marks. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private readonly context: CallContext;
  private spent = 0;
  /** Where the current opcode is, for errors. */
  private opcodeAt = 0;

  constructor(source: PickleSource, persistentLoad: PersistentLoad) {
    this.source = source;
    this.persistentLoad = persistentLoad;
    this.context = {
      fail: (rule, message) => this.fail(rule, message),
      charge: (units) => this.charge(units),
    };
  }

  run(): PickleValue {
    for (;;) {
      this.opcodeAt = this.source.position;
      this.charge(1);
      const opcode = this.source.byte();
      if (opcode === 0x2e /* . STOP */) {
        const value = this.pop();
        if (this.stack.length > 0 || this.marks.length > 0) this.fail('stack', 'values are left over at the end');
        return value;
      }
      if (!this.scalar(opcode) && !this.container(opcode) && !this.memoAndStack(opcode) && !this.object(opcode)) {
        this.fail('opcode', `opcode 0x${opcode.toString(16).padStart(2, '0')} is not supported`);
      }
    }
  }

  /** Numbers, texts, bytes. */
  private scalar(opcode: number): boolean {
    const source = this.source;
    switch (opcode) {
      case 0x4e: // N NONE
        return this.push(null);
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        return this.push(opcode === 0x88);
      case 0x4a: // J BININT
        return this.push(source.i32());
      case 0x4b: // K BININT1
        return this.push(source.byte());
      case 0x4d: // M BININT2
        return this.push(source.u16());
      case 0x8a: // LONG1
        return this.pushInteger(source.byte());
      case 0x8b: {
        // LONG4
        const length = source.i32();
        if (length < 0 || length > LONGEST_INTEGER) this.fail('integer', `a whole number of ${length} bytes`);
        return this.pushInteger(length);
      }
      case 0x49: // I INT, where 00 and 01 are False and True
      case 0x4c: {
        // L LONG
        const text = source.line();
        if (opcode === 0x49 && (text === '00' || text === '01')) return this.push(text === '01');
        this.charge(4 + text.length);
        return this.push(parseDecimal(text) ?? this.fail('integer', `"${text.slice(0, 40)}" is not a whole number`));
      }
      case 0x47: // G BINFLOAT
        this.charge(1);
        return this.push(source.f64());
      case 0x46: {
        // F FLOAT
        const text = source.line();
        return this.push(parseFloating(text) ?? this.fail('float', `"${text.slice(0, 40)}" is not a number`));
      }
      case 0x58: // X BINUNICODE
        return this.pushText(source.u32());
      case 0x8c: // SHORT_BINUNICODE
        return this.pushText(source.byte());
      case 0x8d: // BINUNICODE8
        return this.pushText(source.u64());
      case 0x55: // U SHORT_BINSTRING: texts of Python 2
        return this.pushText(source.byte());
      case 0x54: // T BINSTRING
        return this.pushText(source.i32());
      case 0x56: // V UNICODE, in Python's raw-unicode-escape
        return this.pushLine(
          source
            .line()
            .replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (whole, short?: string, long?: string) =>
              this.escaped(whole, Number.parseInt(short ?? long!, 16)),
            ),
        );
      case 0x53: {
        // S STRING: quoted
        const text = source.line();
        const quoted = /^'([^'\\]*)'$/.exec(text) ?? /^"([^"\\]*)"$/.exec(text);
        return this.pushLine(quoted?.[1] ?? this.fail('text', 'a quoted text is damaged'));
      }
      case 0x42: // B BINBYTES
        return this.pushBytes(source.u32());
      case 0x43: // C SHORT_BINBYTES
        return this.pushBytes(source.byte());
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.pushBytes(source.u64());
      default:
        return false;
    }
  }

  private container(opcode: number): boolean {
    switch (opcode) {
      case 0x5d: // ] EMPTY_LIST
      case 0x29: // ) EMPTY_TUPLE
        return this.pushContainer([]);
      case 0x7d: // } EMPTY_DICT
        return this.pushContainer(new Map());
      case 0x8f: // EMPTY_SET
        return this.pushContainer(new Set());
      case 0x74: // t TUPLE
      case 0x6c: // l LIST
        return this.pushContainer(this.popToMark() as TorchValue[]);
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.pushContainer(this.popMany(opcode - 0x84) as TorchValue[]);
      case 0x64: // d DICT
        this.pushContainer(new Map());
        return this.fillDict(this.stack.pop() as TorchDict, this.popToMark(), true);
      case 0x91: // FROZENSET
        this.pushContainer(new Set());
        return this.fillSet(this.stack.pop() as Set<TorchKey>, this.popToMark(), true);
      case 0x61: // a APPEND
        return this.append([this.pop()]);
      case 0x65: // e APPENDS
        return this.append(this.popToMark());
      case 0x73: // s SETITEM
        return this.setItems(this.popMany(2));
      case 0x75: // u SETITEMS
        return this.setItems(this.popToMark());
      case 0x90: {
        // ADDITEMS
        const items = this.popToMark();
        const set = this.top();
        return set instanceof Set ? this.fillSet(set, items, false) : this.fail('type', 'ADDITEMS on what is no set');
      }
      default:
        return false;
    }
  }

  private memoAndStack(opcode: number): boolean {
    switch (opcode) {
      case 0x28: // ( MARK
        this.marks.push(this.stack.length);
        return true;
      case 0x30: // 0 POP: a value, or a mark on top
        if (this.marks.at(-1) === this.stack.length) this.marks.pop();
        else this.pop();
        return true;
      case 0x31: // 1 POP_MARK
        this.popToMark();
        return true;
      case 0x32: // 2 DUP
        return this.push(this.top());
      case 0x80: {
        // PROTO
        const protocol = this.source.byte();
        return protocol <= 5 || this.fail('protocol', `expected protocol 0 to 5, got ${protocol}`);
      }
      case 0x95: // FRAME: a hint for buffering
        this.source.bytes(8);
        return true;
      case 0x71: // q BINPUT
        return this.remember(this.source.byte());
      case 0x72: // r LONG_BINPUT
        return this.remember(this.source.u32());
      case 0x70: // p PUT
        return this.remember(this.memoIndex());
      case 0x94: // MEMOIZE
        return this.remember(this.memo.size);
      case 0x68: // h BINGET
        return this.recall(this.source.byte());
      case 0x6a: // j LONG_BINGET
        return this.recall(this.source.u32());
      case 0x67: // g GET
        return this.recall(this.memoIndex());
      default:
        return false;
    }
  }

  /** Names, calls and the state of objects. */
  private object(opcode: number): boolean {
    switch (opcode) {
      case 0x63: {
        // c GLOBAL
        const module = this.source.line();
        return this.pushGlobal(module, this.source.line());
      }
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.popMany(2);
        if (typeof module !== 'string' || typeof name !== 'string') this.fail('type', 'a global without a name');
        return this.pushGlobal(module as string, name as string);
      }
      case 0x52: // R REDUCE
      case 0x81: {
        // NEWOBJ
        const [callee, args] = this.popMany(2);
        if (kindOf(callee) !== 'global' || !Array.isArray(args)) this.fail('type', `cannot call ${describe(callee)}`);
        const { call, name } = callee as PickleGlobal;
        if (!call) return this.fail('not-callable', `${name} is not something to call`);
        return this.pushContainer(call(args as PickleValue[], this.context));
      }
      case 0x62: {
        // b BUILD
        const state = this.pop();
        this.build(this.top(), state);
        return true;
      }
      case 0x51: {
        // Q BINPERSID
        const id = this.pop();
        if (!Array.isArray(id))
          return this.fail('persistent-id', `expected a tuple as persistent id, got ${describe(id)}`);
        return this.pushContainer(this.persistentLoad(id, this.context));
      }
      default:
        return false;
    }
  }

  /** BUILD: only namespaces take their state; attributes of an OrderedDict are dropped. */
  private build(target: PickleValue, state: PickleValue): void {
    const kind = kindOf(target);
    if (kind === 'namespace' && state instanceof Map) {
      const { fields } = target as TorchNamespace;
      for (const [key, value] of state) {
        if (typeof key !== 'string') this.fail('type', 'a namespace with a field that is not named by a text');
        this.charge(4);
        fields.set(key as string, value);
      }
    } else if (kind === 'numpy-dtype' && Array.isArray(state) && typeof state[1] === 'string') {
      (target as NumpyDTypeValue).bigEndian = state[1] === '>';
    } else if (!(target instanceof Map && state instanceof Map)) {
      this.fail('build', `${describe(target)} takes no state`);
    }
  }

  private append(items: PickleValue[]): boolean {
    const list = this.top();
    if (!Array.isArray(list)) return this.fail('type', `APPEND on ${describe(list)}, which is no list`);
    for (const item of items) list.push(item as TorchValue);
    return true;
  }

  private setItems(items: PickleValue[]): boolean {
    const dict = this.top();
    return dict instanceof Map ? this.fillDict(dict, items, false) : this.fail('type', `items for ${describe(dict)}`);
  }

  private fillDict(dict: TorchDict, items: PickleValue[], push: boolean): boolean {
    if (items.length % 2 !== 0) this.fail('stack', 'a dict with a key but no value');
    this.charge(items.length * 2);
    for (let i = 0; i < items.length; i += 2) dict.set(this.key(items[i]!), items[i + 1] as TorchValue);
    return push ? this.push(dict) : true;
  }

  private fillSet(set: Set<TorchKey>, items: PickleValue[], push: boolean): boolean {
    this.charge(items.length * 4);
    for (const item of items) set.add(this.key(item));
    return push ? this.push(set) : true;
  }

  private key(value: PickleValue): TorchKey {
    return isKey(value) ? value : this.fail('key', `expected a text or number as key, got ${describe(value)}`);
  }

  private pushGlobal(module: string, name: string): boolean {
    const found = findGlobal(module, name);
    if (found !== undefined) return this.push(found);
    const shown = `${module}.${name}`.slice(0, 120);
    return this.fail('unknown-global', `the file names ${shown}, which is not plain data; it is not loaded or called`);
  }

  private pushInteger(length: number): boolean {
    this.charge(4 + length / 4);
    return this.push(readTwosComplement(this.source.bytes(length)));
  }

  private pushText(length: number): boolean {
    if (length < 0) this.fail('text', 'a text of negative length');
    const text = this.source.text(length);
    this.charge(2 + length / 16);
    return this.push(text);
  }

  private escaped(text: string, code: number): string {
    if (code > 0x10ffff) this.fail('text', `"${text}" is no character`);
    return String.fromCodePoint(code);
  }

  private pushLine(text: string): boolean {
    this.charge(2 + text.length / 16);
    return this.push(text);
  }

  private pushBytes(length: number): boolean {
    const bytes = this.source.bytes(length);
    this.charge(CONTAINER + length / 16);
    return this.push(new Uint8Array(bytes));
  }

  private pushContainer(value: PickleValue): boolean {
    this.charge(CONTAINER);
    return this.push(value);
  }

  private push(value: PickleValue): true {
    this.stack.push(value);
    return true;
  }

  private top(): PickleValue {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) this.fail('stack', 'the stack is empty');
    return this.stack.at(-1)!;
  }

  private pop(): PickleValue {
    const value = this.top();
    this.stack.pop();
    return value;
  }

  private popMany(count: number): PickleValue[] {
    if (this.stack.length - (this.marks.at(-1) ?? 0) < count) this.fail('stack', `the stack holds fewer than ${count}`);
    return this.stack.splice(this.stack.length - count);
  }

  private popToMark(): PickleValue[] {
    const mark = this.marks.pop() ?? this.fail('stack', 'a mark is missing');
    return this.stack.splice(mark);
  }

  private remember(index: number): true {
    this.charge(3);
    this.memo.set(index, this.top());
    return true;
  }

  private recall(index: number): true {
    const value = this.memo.get(index);
    if (value === undefined) this.fail('memo', `nothing was remembered under ${index}`);
    return this.push(value as PickleValue);
  }

  private memoIndex(): number {
    const text = this.source.line();
    return /^\d{1,10}$/.test(text) ? Number(text) : this.fail('memo', `"${text.slice(0, 40)}" is no memo index`);
  }

  private charge(units: number): void {
    this.spent += units;
    if (this.spent > BUDGET) this.fail('budget', 'the pickle builds more than 256 MiB of names and containers');
  }

  private fail(rule: string, message: string): never {
    return this.source.fail(rule, message, this.opcodeAt);
  }
}
