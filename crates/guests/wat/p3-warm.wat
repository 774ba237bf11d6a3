;; WASI 0.3: answers how many requests this instance has been given, as one digit.
;; ---
(global $seen (mut i32) (i32.const 0))
(func $done (param $record i32) (result i32) (i32.const 0))
(func $resume (param $record i32) (param $waitable i32) (param $payload i32) (result i32) unreachable)
(func (export "[async-lift]wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
  (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
  (i32.store8 (i32.const 1024) (i32.add (i32.const 48) (global.get $seen)))
  (call $answer (call $begin) (i32.const 200) (i32.const 1024) (i32.const 1) (i32.const 1)))
