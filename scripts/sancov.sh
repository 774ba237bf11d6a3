#!/bin/sh
# As cargo's RUSTC_WRAPPER: count edges (SanitizerCoverage) in the crates that read what a client sent, and in no other,
# so that libFuzzer is led by them and the build does not instrument a compiler. Works with the stable toolchain.
set -eu
rustc=$1
shift
name=
for arg in "$@"; do
    if [ "$name" = "--crate-name" ]; then name=$arg; break; fi
    if [ "$arg" = "--crate-name" ]; then name=$arg; fi
done
case "$name" in
hanse_engine | hyper | hyper_util | h2 | http | httparse)
    exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    ;;
*)
    exec "$rustc" "$@"
    ;;
esac
