#!/usr/bin/env bash
# Name each tool that is missing in one line, with the Debian package that brings it.
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
if ! command -v cargo >/dev/null; then
  lacks "cargo 1.95 or later: apt install rustup && rustup default stable"
elif ! cargo --version | awk '{split($2, v, "."); exit !(v[1] > 1 || v[2] >= 95)}'; then
  lacks "cargo 1.95 or later (found $(cargo --version)): rustup update stable"
fi
command -v cc >/dev/null || lacks "a C compiler (cc): apt install gcc libc6-dev"
command -v cmake >/dev/null || lacks "cmake (for the TLS library's C parts): apt install cmake"
exit "$missing"
