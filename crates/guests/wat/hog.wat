;; Takes memory page by page, touches it, and gives up only when no more is granted.
;; ---
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $at i32)
  (loop $again
    (local.set $at (memory.grow (i32.const 16)))
    (if (i32.eq (local.get $at) (i32.const -1)) (then unreachable))
    (memory.fill (i32.shl (local.get $at) (i32.const 16)) (i32.const 165) (i32.const 1048576))
    (br $again)))
