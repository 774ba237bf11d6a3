;; Sends the request's body back while it arrives.
(import "wasi:http/types@0.2.0" "[method]incoming-request.consume" (func $request_consume (param i32 i32)))
(import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $incoming_stream (param i32 i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-splice" (func $splice (param i32 i32 i64 i32)))
(import "wasi:io/streams@0.2.0" "[resource-drop]input-stream" (func $input_drop (param i32)))
;; ---
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $input i32) (local $body i32) (local $stream i32)
  (call $request_consume (local.get $request) (i32.const 128))
  (call $incoming_stream (i32.load (i32.const 132)) (i32.const 128))
  (local.set $input (i32.load (i32.const 132)))
  (local.set $body (call $begin (local.get $out) (i32.const 200)))
  (local.set $stream (call $open (local.get $body)))
  (loop $again
    (call $splice (local.get $stream) (local.get $input) (i64.const 65536) (i32.const 128))
    (br_if $again (i32.eqz (i32.load8_u (i32.const 128)))))
  (call $input_drop (local.get $input))
  (call $finish (local.get $body) (local.get $stream)))
