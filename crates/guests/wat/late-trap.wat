;; ---
(data (i32.const 1024) "partial")
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $body i32) (local $stream i32)
  (local.set $body (call $begin (local.get $out) (i32.const 200)))
  (local.set $stream (call $open (local.get $body)))
  (drop (call $write (local.get $stream) (i32.const 1024) (i32.const 7)))
  unreachable)
