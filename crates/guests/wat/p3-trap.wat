;; WASI 0.3: traps.
;; ---
(func $done (param $record i32) (result i32) (i32.const 0))
(func $resume (param $record i32) (param $waitable i32) (param $payload i32) (result i32) unreachable)
(func (export "[async-lift]wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
  unreachable)
