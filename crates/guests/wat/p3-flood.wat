;; WASI 0.3: writes 1 GiB, 4096 bytes at a time, and stops early when nobody takes them.
;; ---
(func $done (param $record i32) (result i32) (i32.const 0))
(func $resume (param $record i32) (param $waitable i32) (param $payload i32) (result i32) unreachable)
(func (export "[async-lift]wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
  (call $answer (call $begin) (i32.const 200) (i32.const 8192) (i32.const 4096) (i32.const 262144)))
