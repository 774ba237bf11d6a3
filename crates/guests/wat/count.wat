;; Reads the whole body before it answers with "read": 400 when the body breaks off.
(import "wasi:http/types@0.2.0" "[method]incoming-request.consume" (func $request_consume (param i32 i32)))
(import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $incoming_stream (param i32 i32)))
(import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-skip" (func $skip (param i32 i64 i32)))
;; ---
(data (i32.const 1024) "read\n")
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $input i32)
  (call $request_consume (local.get $request) (i32.const 128))
  (call $incoming_stream (i32.load (i32.const 132)) (i32.const 128))
  (local.set $input (i32.load (i32.const 132)))
  (loop $again
    (call $skip (local.get $input) (i64.const 65536) (i32.const 128))
    (br_if $again (i32.eqz (i32.load8_u (i32.const 128)))))
  ;; The error is `closed` (1) at the end of a whole body, `last-operation-failed` (0) otherwise.
  (call $answer (local.get $out)
    (select (i32.const 200) (i32.const 400) (i32.load8_u (i32.const 136)))
    (i32.const 1024) (i32.const 5)))
