#!/usr/bin/env bash
# Name each tool that is missing in one line, with the Debian package that brings it. Exits 1 if anything is.
#
# cmake is not among them: on Linux the TLS library builds with the C compiler alone. Node is needed for JavaScript
# sources only, and says so itself when one is built.
set -euo pipefail
python=${1:-python3}
missing=0

lacks() {
  printf 'missing: %s\n' "$1" >&2
  missing=1
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  lacks "Python 3.11 or later ($python): apt install python3"
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  lacks "the venv module of $python: apt install python3-venv"
fi

rust="apt install rustup && rustup default stable (Debian 13; on Debian 12 rustup comes from https://rustup.rs)"
if ! command -v cargo >/dev/null; then
  lacks "cargo 1.95 or later: $rust"
elif ! found=$(cargo --version 2>/dev/null); then
  lacks "a Rust toolchain (cargo is there and does not run): rustup default stable"
else
  version=${found#cargo }
  IFS=. read -r major minor _ <<<"$version"
  if ((major < 1 || (major == 1 && minor < 95))); then
    lacks "cargo 1.95 or later (found ${version%% *}): $rust"
  fi
fi

if ! command -v cc >/dev/null; then
  lacks "a C compiler (cc): apt install gcc libc6-dev"
elif ! printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null; then
  lacks "the C library's headers (cc is there and cannot build): apt install libc6-dev"
fi
exit "$missing"
