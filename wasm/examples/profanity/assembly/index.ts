// Plugin profanity refuses messages that hold a word of a list.
import { ALLOW, Event, begin, config, deny } from "../../../assemblyscript/assembly/index";
export { chappe_abi_v1, chappe_buffers } from "../../../assemblyscript/assembly/index";

let words: string[] = [];

// The configuration is {"words":["…"]}: a list of words, of any case.
export function chappe_init(n: u32): u64 {
  begin(n);
  const list = config("words");
  if (list == null) return deny(403, "words is missing: a list of words");
  words = [];
  let from = list.indexOf('"');
  while (from >= 0) {
    const to = list.indexOf('"', from + 1);
    if (to < 0) return deny(403, "words is not a list of strings");
    const w = list.substring(from + 1, to).toLowerCase();
    if (w.length > 0) words.push(w);
    from = list.indexOf('"', to + 1);
  }
  return words.length > 0 ? ALLOW : deny(403, "words is empty");
}

function letter(c: i32): bool {
  return (c >= 97 && c <= 122) || (c >= 48 && c <= 57) || c > 127;
}

// holds reports whether a text has a word by itself, not within another.
function holds(text: string, word: string): bool {
  let at = text.indexOf(word);
  while (at >= 0) {
    const end = at + word.length;
    if ((at == 0 || !letter(text.charCodeAt(at - 1))) && (end == text.length || !letter(text.charCodeAt(end)))) return true;
    at = text.indexOf(word, at + 1);
  }
  return false;
}

export function chappe_on_publish(n: u32): u64 {
  const text = begin(n).text().toLowerCase();
  for (let i = 0; i < words.length; i++) {
    if (holds(text, words[i])) return deny(403, "mind your language");
  }
  return ALLOW;
}
