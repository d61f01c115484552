;; A guest that answers what the frame tells it to: the payload is a verdict word
;; (u64) and the output that follows it, at most 64 KiB. Without a payload it
;; allows. Three scripts are taken from the key instead, for the sake of state:
;;
;;   "u"  unreachable
;;   "c"  count the call, and replace the payload by the count of this instance (u64)
;;   "f"  replace the payload by the frame
;;
;; It exports every hook and imports nothing. Built with
;;
;;   wat2wasm script.wat -o script.wasm      (wabt 1.0.39)
(module
  (memory (export "memory") 2)
  (global $in (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))
  (global $calls (mut i64) (i64.const 0))

  (func (export "chappe_abi_v1"))

  ;; The in-buffer begins at 64 KiB, the out-buffer behind it.
  (func (export "chappe_buffers") (param $in_cap i32) (param $out_cap i32) (result i64)
    (local $pages i32)
    (global.set $in (i32.const 65536))
    (global.set $out (i32.and (i32.add (i32.add (global.get $in) (local.get $in_cap)) (i32.const 7)) (i32.const -8)))
    (local.set $pages
      (i32.sub
        (i32.shr_u (i32.add (i32.add (global.get $out) (local.get $out_cap)) (i32.const 65535)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then unreachable))))
    (i64.or (i64.shl (i64.extend_i32_u (global.get $in)) (i64.const 32)) (i64.extend_i32_u (global.get $out))))

  (func $script (param $len i32) (result i64)
    (local $payload i32)
    (local $size i32)
    (local $key i32)
    (if (i32.load offset=76 (global.get $in))
      (then
        (local.set $key (i32.load8_u (i32.add (global.get $in) (i32.load offset=72 (global.get $in)))))
        (if (i32.eq (local.get $key) (i32.const 117)) (then unreachable))
        (if (i32.eq (local.get $key) (i32.const 99))
          (then
            (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
            (i64.store (global.get $out) (global.get $calls))
            (return (i64.const 0x0000000800000004))))
        (if (i32.eq (local.get $key) (i32.const 102))
          (then
            (memory.copy (global.get $out) (global.get $in) (local.get $len))
            (return (i64.or (i64.const 4) (i64.shl (i64.extend_i32_u (local.get $len)) (i64.const 32))))))))
    (local.set $size (i32.load offset=60 (global.get $in)))
    (if (i32.lt_u (local.get $size) (i32.const 8)) (then (return (i64.const 1))))
    (local.set $payload (i32.add (global.get $in) (i32.load offset=56 (global.get $in))))
    (memory.copy (global.get $out) (i32.add (local.get $payload) (i32.const 8)) (i32.sub (local.get $size) (i32.const 8)))
    (i64.load (local.get $payload)))

  (func (export "chappe_init") (param i32) (result i64) (i64.const 1))
  (export "chappe_on_connect" (func $script))
  (export "chappe_on_subscribe" (func $script))
  (export "chappe_on_publish" (func $script))
  (export "chappe_on_publish_batch" (func $script))
  (export "chappe_on_deliver" (func $script))
  (export "chappe_on_presence" (func $script))
  (export "chappe_on_history" (func $script))
  (export "chappe_on_disconnect" (func $script))
  (export "chappe_on_timer" (func $script)))
