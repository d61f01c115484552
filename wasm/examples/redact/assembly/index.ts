// Plugin redact takes members out of JSON messages, unless the publisher may send them.
import { ALLOW, begin, config, deny, replace } from "../../../assemblyscript/assembly/index";
export { chappe_abi_v1, chappe_buffers } from "../../../assemblyscript/assembly/index";

let fields: string[] = [];
let unless: string = "";

// The configuration is {"fields":["ssn"],"unless":"admin"}: the members to take out
// of an object, and the role (a claim) whose messages stay whole.
export function chappe_init(n: u32): u64 {
  begin(n);
  const list = config("fields");
  if (list == null) return deny(403, "fields is missing: a list of names");
  fields = [];
  let from = list.indexOf('"');
  while (from >= 0) {
    const to = list.indexOf('"', from + 1);
    if (to < 0) return deny(403, "fields is not a list of strings");
    fields.push(list.substring(from + 1, to));
    from = list.indexOf('"', to + 1);
  }
  const role = config("unless");
  unless = role == null ? "" : role;
  return fields.length > 0 ? ALLOW : deny(403, "fields is empty");
}

// skip returns the index behind a JSON value that begins at i, -1 if there is none.
function skip(s: string, i: i32): i32 {
  let depth = 0;
  for (; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c == 34) { // a string
      for (i++; i < s.length && s.charCodeAt(i) != 34; i++) if (s.charCodeAt(i) == 92) i++;
      if (i >= s.length) return -1;
      if (depth == 0) return i + 1;
    } else if (c == 123 || c == 91) {
      depth++;
    } else if (c == 125 || c == 93) {
      if (depth == 0) return i;
      if (--depth == 0) return i + 1;
    } else if (depth == 0 && c == 44) {
      return i;
    }
  }
  return depth == 0 ? i : -1;
}

function space(s: string, i: i32): i32 {
  while (i < s.length && s.charCodeAt(i) <= 32) i++;
  return i;
}

// member finds the value of a top-level string member; "" if there is none.
function member(s: string, name: string): string {
  const at = s.indexOf('"' + name + '"');
  if (at < 0) return "";
  let i = space(s, at + name.length + 2);
  if (i >= s.length || s.charCodeAt(i) != 58) return "";
  i = space(s, i + 1);
  const end = skip(s, i);
  return end < 0 || s.charCodeAt(i) != 34 ? "" : s.substring(i + 1, end - 1);
}

export function chappe_on_publish(n: u32): u64 {
  const e = begin(n);
  const text = e.text();
  let i = space(text, 0);
  if (i >= text.length || text.charCodeAt(i) != 123) return ALLOW; // not an object: nothing to take out
  if (unless.length > 0 && member(e.claims, "role") == unless) return ALLOW;
  let out = "{", found = false, first = true;
  i = space(text, i + 1);
  while (i < text.length && text.charCodeAt(i) != 125) {
    const from = i;
    if (text.charCodeAt(i) != 34) return deny(403, "the message is not JSON");
    const close = skip(text, i);
    if (close < 0) return deny(403, "the message is not JSON");
    const name = text.substring(i + 1, close - 1);
    i = space(text, close);
    if (i >= text.length || text.charCodeAt(i) != 58) return deny(403, "the message is not JSON");
    const end = skip(text, space(text, i + 1));
    if (end < 0) return deny(403, "the message is not JSON");
    if (fields.includes(name)) {
      found = true;
    } else {
      if (!first) out += ",";
      out += text.substring(from, end);
      first = false;
    }
    i = space(text, end);
    if (i < text.length && text.charCodeAt(i) == 44) i = space(text, i + 1);
  }
  if (i >= text.length) return deny(403, "the message is not JSON");
  return found ? replace(out + "}") : ALLOW;
}
