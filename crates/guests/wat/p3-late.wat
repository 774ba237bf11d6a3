;; WASI 0.3: answers "late", and computes for ever afterwards.
;; ---
(data (i32.const 1024) "late\n")
(func $done (param $record i32) (result i32)
  (loop $again (br $again))
  unreachable)
(func $resume (param $record i32) (param $waitable i32) (param $payload i32) (result i32) unreachable)
(func (export "[async-lift]wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
  (call $answer (call $begin) (i32.const 200) (i32.const 1024) (i32.const 5) (i32.const 1)))
