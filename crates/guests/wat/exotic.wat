(import "hanse:guests/vault" "open" (func $open_vault (result i32)))
;; ---
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (drop (call $open_vault)))
