;; WASI 0.3: answers only while another request is in the same instance, looking at it every millisecond.
(import "wasi:clocks/monotonic-clock@0.3.0" "[async-lower]wait-for" (func $wait_for (param i64) (result i32)))
(import "$root" "[subtask-drop]" (func $subtask_drop (param i32)))
;; ---
(data (i32.const 1024) "together\n")
(global $here (mut i32) (i32.const 0))
(global $met (mut i32) (i32.const 0))
(func $done (param $record i32) (result i32) (i32.const 0))
(func $look (param $record i32) (result i32)
  (local $subtask i32)
  (loop $again
    (if (i32.gt_u (global.get $here) (i32.const 1)) (then (global.set $met (i32.const 1))))
    (if (global.get $met)
      (then (return (call $answer (local.get $record) (i32.const 200) (i32.const 1024) (i32.const 9) (i32.const 1)))))
    (local.set $subtask (call $wait_for (i64.const 1000000)))
    ;; The lowest bits say 2 when it has returned already.
    (br_if $again (i32.eq (i32.and (local.get $subtask) (i32.const 15)) (i32.const 2))))
  (call $wait (local.get $record) (i32.const 2) (i32.shr_u (local.get $subtask) (i32.const 4))))
(func $resume (param $record i32) (param $waitable i32) (param $payload i32) (result i32)
  (call $subtask_drop (local.get $waitable))
  (call $look (local.get $record)))
(func (export "[async-lift]wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
  (global.set $here (i32.add (global.get $here) (i32.const 1)))
  (call $look (call $begin)))
