;; Answers with the request's header fields, one `name: value` a line.
(import "wasi:http/types@0.2.0" "[method]incoming-request.headers" (func $request_headers (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]fields.entries" (func $entries (param i32 i32)))
;; ---
(data (i32.const 1024) ": ")
(data (i32.const 1026) "\n")
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $body i32) (local $stream i32) (local $at i32) (local $end i32)
  (call $entries (call $request_headers (local.get $request)) (i32.const 128))
  (local.set $at (i32.load (i32.const 128)))
  (local.set $end (i32.add (local.get $at) (i32.mul (i32.const 16) (i32.load (i32.const 132)))))
  (local.set $body (call $begin (local.get $out) (i32.const 200)))
  (local.set $stream (call $open (local.get $body)))
  (block $done
    (loop $again
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (drop (call $write (local.get $stream) (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))))
      (drop (call $write (local.get $stream) (i32.const 1024) (i32.const 2)))
      (drop (call $write (local.get $stream) (i32.load offset=8 (local.get $at)) (i32.load offset=12 (local.get $at))))
      (drop (call $write (local.get $stream) (i32.const 1026) (i32.const 1)))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br $again)))
  (call $finish (local.get $body) (local.get $stream)))
