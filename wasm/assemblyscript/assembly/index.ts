// The guest kit for AssemblyScript: ABI version 1 of Chappe's plugins (ABI.md).
//
//   import { Event, ALLOW, DROP, begin } from "./chappe";
//   export { chappe_abi_v1, chappe_buffers } from "./chappe";
//   export function chappe_on_publish(n: u32): u64 {
//     return begin(n).text().includes("secret") ? DROP : ALLOW;
//   }
//
// A hook is a function that the module exports by the ABI's name. It gets the
// length of its frame and returns a verdict.

// Host functions (ABI §8).
// @ts-ignore: decorator
@external("chappe", "log") declare function sysLog(level: u32, at: usize, n: u32): void;
// @ts-ignore: decorator
@external("chappe", "config_get") declare function sysConfigGet(key: usize, n: u32, out: usize, cap: u32): i32;
// @ts-ignore: decorator
@external("chappe", "kv_get") declare function sysKVGet(key: usize, n: u32, out: usize, cap: u32): i32;
// @ts-ignore: decorator
@external("chappe", "kv_set") declare function sysKVSet(key: usize, n: u32, value: usize, m: u32, ttl: u32): i32;
// @ts-ignore: decorator
@external("chappe", "kv_incr") declare function sysKVIncr(key: usize, n: u32, delta: i64, ttl: u32): i64;
// @ts-ignore: decorator
@external("chappe", "metric_define") declare function sysMetricDefine(name: usize, n: u32, kind: u32): i32;
// @ts-ignore: decorator
@external("chappe", "metric_add") declare function sysMetricAdd(id: i32, n: i64): void;
// @ts-ignore: decorator
@external("chappe", "timer_set") declare function sysTimerSet(ms: u32): void;
// @ts-ignore: decorator
@external("chappe", "now_ms") declare function sysNow(): i64;
// @ts-ignore: decorator
@external("chappe", "random") declare function sysRandom(): i64;

// Verdicts without output (ABI §6).
export const ALLOW: u64 = 1;
export const DROP: u64 = 2;

const IN: u32 = 256 << 10;
const OUT: u32 = 256 << 10;
const LIMIT: u32 = 64 << 10; // output of one message

// The buffers live outside the collector's heap, as long as the instance does.
let input: usize = 0;
let output: usize = 0;
let used: u32 = 0; // bytes of the answer so far

// The marker is never called: the module exports it (ABI §3).
export function chappe_abi_v1(): void {}

// The host asks once per instance where its buffers are (ABI §10.3).
export function chappe_buffers(inCap: u32, outCap: u32): u64 {
  input = heap.alloc(<usize>max(inCap, IN));
  output = heap.alloc(<usize>max(outCap, OUT));
  return (<u64>input << 32) | <u64>output;
}

// begin is a hook's first act: the event that its frame holds. What the last call
// left of an answer is forgotten.
export function begin(n: u32): Event {
  used = 0;
  return event;
}

// Event is what happened (ABI §4). Its texts are copies, made when they are asked for.
export class Event {
  private ref(at: usize): string {
    const off = load<u32>(input + at), n = load<u32>(input + at + 4);
    return n == 0 ? "" : String.UTF8.decodeUnsafe(input + off, n);
  }
  get flags(): u32 { return load<u32>(input + 4); }
  get tick(): u64 { return load<u64>(input + 8); }
  get now(): u64 { return load<u64>(input + 16); }
  get channel(): string { return this.ref(24); }
  get client(): string { return this.ref(32); }
  get claims(): string { return this.ref(40); }
  get name(): string { return this.ref(48); }
  get user(): string { return this.ref(64); }
  get key(): string { return this.ref(72); }
  get id(): string { return this.ref(80); }
  // arg0 is the number of readers, the close code, 1 for joined and 2 for left.
  get arg0(): u32 { return load<u32>(input + 88); }
  // text is the payload as text.
  text(): string { return this.ref(56); }
  // at and length are the payload as bytes in memory, valid during the call.
  get at(): usize { return input + load<u32>(input + 56); }
  get length(): u32 { return load<u32>(input + 60); }
}

const event = new Event();

// Reader is one reader of a deliver frame (ABI §5.5).
export class Reader {
  at: usize = 0;
  get tags(): u64 { return load<u64>(this.at); }
  get level(): u32 { return load<u32>(this.at + 8); }
  get group(): u32 { return load<u32>(this.at + 12); }
  get user(): u64 { return load<u64>(this.at + 16); }
  ext(): string {
    const off = load<u32>(this.at + 24), n = load<u32>(this.at + 28);
    return n == 0 ? "" : String.UTF8.decodeUnsafe(input + off, n);
  }
}

const reader = new Reader();

// filter asks about each reader who gets the message.
export function filter(gets: (r: Reader) => bool): u64 {
  const n = event.arg0, size = load<u32>(input + 92), head = load<u16>(input);
  const bytes = (n + 7) / 8;
  memory.fill(output, 0, bytes);
  for (let i: u32 = 0; i < n; i++) {
    reader.at = input + head + i * size;
    if (gets(reader)) {
      const at = output + (i >> 3);
      store<u8>(at, load<u8>(at) | (1 << (i & 7)));
    }
  }
  return 5 | (<u64>bytes << 32);
}

function put(text: string): u32 {
  const n = <u32>String.UTF8.byteLength(text);
  if (used + n > LIMIT) unreachable();
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, output + used);
  used += n;
  return n;
}

function head(kind: u16, n: u32): void {
  if (used + 8 + n > LIMIT) unreachable();
  store<u16>(output + used, kind);
  store<u16>(output + used + 2, 0);
  store<u32>(output + used + 4, n);
  used += 8;
}

// deny refuses, with a code like that of HTTP and a reason for the client.
export function deny(code: u16, reason: string): u64 {
  used = 0;
  const n = put(reason);
  return 3 | (<u64>code << 16) | (<u64>n << 32);
}

// replace publishes another payload instead.
export function replace(payload: string): u64 {
  used = 0;
  const n = put(payload);
  return 4 | (<u64>n << 32);
}

// also adds a further message to what the publish hook answers; then return fanout().
export function also(channel: string, payload: string): void {
  const c = <u32>String.UTF8.byteLength(channel), p = <u32>String.UTF8.byteLength(payload);
  head(2, 2 + c + p);
  store<u16>(output + used, <u16>c);
  used += 2;
  put(channel);
  put(payload);
}

// fanout publishes the message and what also added.
export function fanout(): u64 { return 7 | (2 << 8) | (<u64>used << 32); }

// matched lets only those readers have the message whose tags pass (ABI §7.6).
export function matched(any: u64, all: u64, none: u64, level: u32): u64 {
  head(6, 28);
  store<u64>(output + used, any);
  store<u64>(output + used + 8, all);
  store<u64>(output + used + 16, none);
  store<u32>(output + used + 24, level);
  used += 28;
  return 6 | (2 << 8) | (<u64>used << 32);
}

// tagged allows a subscription and says what deliver and match know of it.
export function tagged(bits: u64, level: u32, group: u32, ext: string = ""): u64 {
  head(3, 16 + <u32>String.UTF8.byteLength(ext));
  store<u64>(output + used, bits);
  store<u32>(output + used + 8, level);
  store<u32>(output + used + 12, group);
  used += 16;
  put(ext);
  return 1 | (2 << 8) | (<u64>used << 32);
}

// fail answers error: as a trap, with a text for the log.
export function fail(text: string): u64 {
  used = 0;
  const n = put(text);
  return <u64>n << 32;
}

const scratch = memory.data(4096);

// config is a member of the configuration; null if there is none.
export function config(key: string): string | null {
  const k = String.UTF8.encode(key);
  const n = sysConfigGet(changetype<usize>(k), k.byteLength, scratch, 4096);
  if (n == -2) { // longer: room on the heap
    const big = new ArrayBuffer(LIMIT);
    const m = sysConfigGet(changetype<usize>(k), k.byteLength, changetype<usize>(big), LIMIT);
    return m < 0 ? null : String.UTF8.decodeUnsafe(changetype<usize>(big), m);
  }
  return n < 0 ? null : String.UTF8.decodeUnsafe(scratch, n);
}

// get reads the store; null if the key is not there or its value is over 4 KiB.
export function get(key: string): string | null {
  const k = String.UTF8.encode(key);
  const n = sysKVGet(changetype<usize>(k), k.byteLength, scratch, 4096);
  return n < 0 ? null : String.UTF8.decodeUnsafe(scratch, n);
}

// set writes it; false: it is full. ttl in milliseconds, 0: for ever.
export function set(key: string, value: string, ttl: u32): bool {
  const k = String.UTF8.encode(key), v = String.UTF8.encode(value);
  return sysKVSet(changetype<usize>(k), k.byteLength, changetype<usize>(v), v.byteLength, ttl) == 0;
}

// incr adds to a counter of the store and returns the sum.
export function incr(key: string, delta: i64, ttl: u32): i64 {
  const k = String.UTF8.encode(key);
  return sysKVIncr(changetype<usize>(k), k.byteLength, delta, ttl);
}

// log writes a line: level 0 debug, 1 info, 2 warning, 3 error.
export function log(level: u32, text: string): void {
  const t = String.UTF8.encode(text);
  sysLog(level, changetype<usize>(t), t.byteLength);
}

// counter and gauge define a metric; add adds to it, or sets it.
export function counter(name: string): i32 {
  const n = String.UTF8.encode(name);
  return sysMetricDefine(changetype<usize>(n), n.byteLength, 0);
}
export function gauge(name: string): i32 {
  const n = String.UTF8.encode(name);
  return sysMetricDefine(changetype<usize>(n), n.byteLength, 1);
}
export function add(metric: i32, n: i64): void { sysMetricAdd(metric, n); }

// timer has chappe_on_timer called once, after ms milliseconds; 0 cancels.
export function timer(ms: u32): void { sysTimerSet(ms); }
export function now(): i64 { return sysNow(); }
export function random(): i64 { return sysRandom(); }

