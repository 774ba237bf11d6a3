;; Answers how many requests this instance has been given, as one digit; traps on the fifth.
;; ---
(global $seen (mut i32) (i32.const 0))
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
  (if (i32.eq (global.get $seen) (i32.const 5)) (then unreachable))
  (i32.store8 (i32.const 1024) (i32.add (i32.const 48) (global.get $seen)))
  (call $answer (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 1)))
