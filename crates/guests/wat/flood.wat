;; Writes 1 GiB, 4096 bytes at a time, and stops early when nobody takes them.
;; ---
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $body i32) (local $stream i32) (local $left i32)
  (local.set $body (call $begin (local.get $out) (i32.const 200)))
  (local.set $stream (call $open (local.get $body)))
  (local.set $left (i32.const 262144))
  (block $gone
    (loop $again
      (br_if $gone (call $write (local.get $stream) (i32.const 8192) (i32.const 4096)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left))))
  (call $finish (local.get $body) (local.get $stream)))
