;; Shared definitions for WASI 0.3: a handler is a task that returns what it waits for, and is called back with it.
;; What a task must remember stands in a record of 32 bytes:
;;   0 what it waits for (0 the stream, 1 the trailers, from 2 on whatever the guest says), 4 stream, 8 trailers,
;;   12 text, 16 its length, 20 waitable set, 24 how often the text is still to be written, 28 for the guest.
(memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))
(func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
    (then
      (if (i32.eq (i32.const -1)
            (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))
        (then unreachable))))
  (local.get $at))

;; The record of a new task.
(func $begin (result i32)
  (local $record i32)
  (local.set $record (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 32)))
  (memory.fill (local.get $record) (i32.const 0) (i32.const 32))
  (i32.store offset=20 (local.get $record) (call $set_new))
  (call $context_set (local.get $record))
  (local.get $record))

;; Returns to the runtime until something happens to this waitable.
(func $wait (param $record i32) (param $state i32) (param $waitable i32) (result i32)
  (i32.store (local.get $record) (local.get $state))
  (call $join (local.get $waitable) (i32.load offset=20 (local.get $record)))
  (i32.or (i32.const 2) (i32.shl (i32.load offset=20 (local.get $record)) (i32.const 4))))

;; Gives the answer its status and returns it; the text is written afterwards, as often as $times says.
(func $answer (param $record i32) (param $status i32) (param $at i32) (param $len i32) (param $times i32) (result i32)
  (local $stream i64) (local $trailers i64)
  (local.set $stream (call $stream_new))
  (local.set $trailers (call $trailers_new))
  (i32.store offset=4 (local.get $record) (i32.wrap_i64 (i64.shr_u (local.get $stream) (i64.const 32))))
  (i32.store offset=8 (local.get $record) (i32.wrap_i64 (i64.shr_u (local.get $trailers) (i64.const 32))))
  (i32.store offset=12 (local.get $record) (local.get $at))
  (i32.store offset=16 (local.get $record) (local.get $len))
  (i32.store offset=24 (local.get $record) (local.get $times))
  (call $response_new (call $fields_new) (i32.const 1) (i32.wrap_i64 (local.get $stream)) (i32.wrap_i64 (local.get $trailers)) (i32.const 16))
  (call $sent_drop (i32.load (i32.const 20)))
  (drop (call $response_set_status (i32.load (i32.const 16)) (local.get $status)))
  (call $task_return (i32.const 0) (i32.load (i32.const 16)) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
  (call $write (local.get $record)))

;; Writes what is left of the text, then that there are no trailers.
(func $write (param $record i32) (result i32)
  (local $wrote i32)
  (loop $again
    (if (i32.load offset=24 (local.get $record))
      (then
        (local.set $wrote (call $stream_write (i32.load offset=4 (local.get $record))
          (i32.load offset=12 (local.get $record)) (i32.load offset=16 (local.get $record))))
        (if (i32.eq (local.get $wrote) (i32.const -1))
          (then (return (call $wait (local.get $record) (i32.const 0) (i32.load offset=4 (local.get $record))))))
        (call $wrote (local.get $record) (local.get $wrote))
        (br $again))))
  (call $stream_drop (i32.load offset=4 (local.get $record)))
  ;; Memory that nobody writes says: no trailers.
  (if (i32.eq (call $trailers_write (i32.load offset=8 (local.get $record)) (i32.const 512)) (i32.const -1))
    (then (return (call $wait (local.get $record) (i32.const 1) (i32.load offset=8 (local.get $record))))))
  (call $trailers_drop (i32.load offset=8 (local.get $record)))
  (call $done (local.get $record)))

;; Nobody reads any more when the lowest bits say so.
(func $wrote (param $record i32) (param $wrote i32)
  (i32.store offset=24 (local.get $record)
    (select (i32.const 0) (i32.sub (i32.load offset=24 (local.get $record)) (i32.const 1))
      (i32.and (local.get $wrote) (i32.const 15)))))

(func (export "[callback][async-lift]wasi:http/handler@0.3.0#handle") (param $event i32) (param $waitable i32) (param $payload i32) (result i32)
  (local $record i32) (local $state i32)
  (local.set $record (call $context_get))
  (local.set $state (i32.load (local.get $record)))
  (call $join (local.get $waitable) (i32.const 0))
  (if (i32.ge_u (local.get $state) (i32.const 2))
    (then (return (call $resume (local.get $record) (local.get $waitable) (local.get $payload)))))
  (if (local.get $state)
    (then
      (call $trailers_drop (i32.load offset=8 (local.get $record)))
      (return (call $done (local.get $record)))))
  (call $wrote (local.get $record) (local.get $payload))
  (call $write (local.get $record)))
