;; ---
(data (i32.const 1024) "hello\n")
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (call $answer (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 6)))
