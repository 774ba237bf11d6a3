;; Writes one line on stderr and half a line on stdout, then answers.
(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
;; ---
(data (i32.const 1024) "a line for the owner\nhalf a line")
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (drop (call $write (call $stderr) (i32.const 1024) (i32.const 21)))
  (drop (call $write (call $stdout) (i32.const 1045) (i32.const 11)))
  (call $answer (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 21)))
