;; A guest that calls the host as the frame tells it to. The first byte of the
;; key names the function, the payload holds its arguments
;;
;;   0 a i32, 4 b i32, 8 c i32, 12 d i32, 16 e i32, 20 unused, 24 f i64, 32 data
;;
;; where pointers count from the start of the payload. It replaces the payload by
;; the result (i64; an i32 is extended with its sign, none is 0) and, for gets, the
;; bytes that were got. Built with
;;
;;   wat2wasm calls.wat -o calls.wasm      (wabt 1.0.39)
(module
  (import "chappe" "log" (func $log (param i32 i32 i32)))
  (import "chappe" "metric_define" (func $metric_define (param i32 i32 i32) (result i32)))
  (import "chappe" "metric_add" (func $metric_add (param i32 i64)))
  (import "chappe" "config_get" (func $config_get (param i32 i32 i32 i32) (result i32)))
  (import "chappe" "kv_get" (func $kv_get (param i32 i32 i32 i32) (result i32)))
  (import "chappe" "kv_set" (func $kv_set (param i32 i32 i32 i32 i32) (result i32)))
  (import "chappe" "kv_incr" (func $kv_incr (param i32 i32 i64 i32) (result i64)))
  (import "chappe" "timer_set" (func $timer_set (param i32)))
  (import "chappe" "now_ms" (func $now_ms (result i64)))
  (import "chappe" "random" (func $random (result i64)))

  (memory (export "memory") 2)
  (global $in (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))

  (func (export "chappe_abi_v1"))

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

  (func (export "chappe_on_timer") (param i32) (result i64) (i64.const 1))

  (func (export "chappe_on_publish") (param $len i32) (result i64)
    (local $p i32) (local $op i32) (local $a i32) (local $b i32) (local $c i32) (local $d i32) (local $e i32)
    (local $f i64) (local $r i64) (local $more i32)
    (if (i32.eqz (i32.load offset=76 (global.get $in))) (then (return (i64.const 1))))
    (local.set $op (i32.load8_u (i32.add (global.get $in) (i32.load offset=72 (global.get $in)))))
    (local.set $p (i32.add (global.get $in) (i32.load offset=56 (global.get $in))))
    (local.set $a (i32.load (local.get $p)))
    (local.set $b (i32.load offset=4 (local.get $p)))
    (local.set $c (i32.load offset=8 (local.get $p)))
    (local.set $d (i32.load offset=12 (local.get $p)))
    (local.set $e (i32.load offset=16 (local.get $p)))
    (local.set $f (i64.load offset=24 (local.get $p)))
    (block $done
      (if (i32.eq (local.get $op) (i32.const 108)) ;; l: log(a, b, c)
        (then (call $log (local.get $a) (i32.add (local.get $p) (local.get $b)) (local.get $c)) (br $done)))
      (if (i32.eq (local.get $op) (i32.const 109)) ;; m: metric_define(a, b, c)
        (then
          (local.set $r (i64.extend_i32_s
            (call $metric_define (i32.add (local.get $p) (local.get $a)) (local.get $b) (local.get $c))))
          (br $done)))
      (if (i32.eq (local.get $op) (i32.const 97)) ;; a: metric_add(a, f)
        (then (call $metric_add (local.get $a) (local.get $f)) (br $done)))
      (if (i32.eq (local.get $op) (i32.const 99)) ;; c: config_get(a, b, out, d)
        (then
          (local.set $r (i64.extend_i32_s
            (call $config_get (i32.add (local.get $p) (local.get $a)) (local.get $b)
              (i32.add (global.get $out) (i32.const 8)) (local.get $d))))
          (local.set $more (i32.wrap_i64 (local.get $r)))
          (br $done)))
      (if (i32.eq (local.get $op) (i32.const 103)) ;; g: kv_get(a, b, out + c, d)
        (then
          (local.set $r (i64.extend_i32_s
            (call $kv_get (i32.add (local.get $p) (local.get $a)) (local.get $b)
              (i32.add (i32.add (global.get $out) (i32.const 8)) (local.get $c)) (local.get $d))))
          (local.set $more (i32.wrap_i64 (local.get $r)))
          (br $done)))
      (if (i32.eq (local.get $op) (i32.const 115)) ;; s: kv_set(a, b, c, d, e)
        (then
          (local.set $r (i64.extend_i32_s
            (call $kv_set (i32.add (local.get $p) (local.get $a)) (local.get $b)
              (i32.add (local.get $p) (local.get $c)) (local.get $d) (local.get $e))))
          (br $done)))
      (if (i32.eq (local.get $op) (i32.const 105)) ;; i: kv_incr(a, b, f, e)
        (then
          (local.set $r
            (call $kv_incr (i32.add (local.get $p) (local.get $a)) (local.get $b) (local.get $f) (local.get $e)))
          (br $done)))
      (if (i32.eq (local.get $op) (i32.const 116)) ;; t: timer_set(a)
        (then (call $timer_set (local.get $a)) (br $done)))
      (if (i32.eq (local.get $op) (i32.const 110)) ;; n: now_ms()
        (then (local.set $r (call $now_ms)) (br $done)))
      (if (i32.eq (local.get $op) (i32.const 114)) ;; r: random()
        (then (local.set $r (call $random)) (br $done)))
      unreachable)
    (i64.store (global.get $out) (local.get $r))
    (if (i32.lt_s (local.get $more) (i32.const 0)) (then (local.set $more (i32.const 0))))
    (i64.or
      (i64.const 4)
      (i64.shl (i64.extend_i32_u (i32.add (i32.const 8) (local.get $more))) (i64.const 32)))))
