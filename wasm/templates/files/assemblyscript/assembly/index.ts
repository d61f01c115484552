// Plugin PLUGIN drops messages that hold "debug":true.
import { ALLOW, DROP, begin } from "./chappe";
export { chappe_abi_v1, chappe_buffers } from "./chappe";

export function chappe_on_publish(n: u32): u64 {
  return begin(n).text().includes('"debug":true') ? DROP : ALLOW;
}
