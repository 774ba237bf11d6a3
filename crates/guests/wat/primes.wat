;; Counts the primes below 50,000 with a sieve, ten times over, and answers with the number: a CPU-bound handler of about a millisecond.
;; ---
(func $count (result i32)
  (local $n i32) (local $multiple i32) (local $found i32)
  (memory.fill (i32.const 80000) (i32.const 0) (i32.const 50000))
  (local.set $n (i32.const 2))
  (loop $next
    (if (i32.eqz (i32.load8_u (i32.add (i32.const 80000) (local.get $n))))
      (then
        (local.set $found (i32.add (local.get $found) (i32.const 1)))
        (local.set $multiple (i32.add (local.get $n) (local.get $n)))
        (block $done
          (loop $strike
            (br_if $done (i32.ge_u (local.get $multiple) (i32.const 50000)))
            (i32.store8 (i32.add (i32.const 80000) (local.get $multiple)) (i32.const 1))
            (local.set $multiple (i32.add (local.get $multiple) (local.get $n)))
            (br $strike)))))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 50000))))
  (local.get $found))
(func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $out i32)
  (local $left i32) (local $found i32) (local $at i32)
  (local.set $left (i32.const 10))
  (loop $again
    (local.set $found (call $count))
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (br_if $again (local.get $left)))
  ;; Four decimal digits, the last one first, and a line end.
  (i32.store8 (i32.const 1028) (i32.const 10))
  (local.set $at (i32.const 1028))
  (loop $digit
    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $found) (i32.const 10))))
    (local.set $found (i32.div_u (local.get $found) (i32.const 10)))
    (br_if $digit (i32.gt_u (local.get $at) (i32.const 1024))))
  (call $answer (local.get $out) (i32.const 200) (i32.const 1024) (i32.const 5)))
