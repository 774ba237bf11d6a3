;; Shared definitions: memory, a bump allocator, and the way one answer is made.
(memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))
(func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
    (then
      (if (i32.eq (i32.const -1)
            (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))
        (then unreachable))))
  (local.get $at))

;; Starts the answer with this status and returns its body (not yet written).
(func $begin (param $out i32) (param $status i32) (result i32)
  (local $response i32)
  (local.set $response (call $response_new (call $fields_new)))
  (drop (call $response_set_status (local.get $response) (local.get $status)))
  (call $response_body (local.get $response) (i32.const 16))
  (call $outparam_set (local.get $out) (i32.const 0) (local.get $response)
    (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
  (i32.load (i32.const 20)))

;; The stream of a body.
(func $open (param $body i32) (result i32)
  (call $body_write (local.get $body) (i32.const 16))
  (i32.load (i32.const 20)))

;; Writes at most 4096 bytes and waits until they are taken; 1 when the stream is gone.
(func $write (param $stream i32) (param $at i32) (param $len i32) (result i32)
  (call $stream_write (local.get $stream) (local.get $at) (local.get $len) (i32.const 32))
  (i32.load8_u (i32.const 32)))

(func $finish (param $body i32) (param $stream i32)
  (call $stream_drop (local.get $stream))
  (call $body_finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 64)))

;; A whole answer with one short text.
(func $answer (param $out i32) (param $status i32) (param $at i32) (param $len i32)
  (local $body i32) (local $stream i32)
  (local.set $body (call $begin (local.get $out) (local.get $status)))
  (local.set $stream (call $open (local.get $body)))
  (drop (call $write (local.get $stream) (local.get $at) (local.get $len)))
  (call $finish (local.get $body) (local.get $stream)))
