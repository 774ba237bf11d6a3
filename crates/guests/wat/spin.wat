;; Computes for some milliseconds, then answers: a CPU-bound handler.
;; ---
(data (i32.const 1024) "done\n")
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $left i32) (local $x i32)
  (local.set $left (i32.const 20000000))
  (local.set $x (i32.const 88172645))
  (loop $again
    (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
    (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
    (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (br_if $again (local.get $left)))
  (i32.store (i32.const 2048) (local.get $x))
  (call $answer (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 5)))
