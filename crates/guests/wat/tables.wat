;; ---
(table $t 1 funcref)
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (loop $again
    (if (i32.eq (i32.const -1) (table.grow $t (ref.null func) (i32.const 10000))) (then unreachable))
    (br $again)))
