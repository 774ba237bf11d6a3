#!/usr/bin/env bash
# Run one long step with its name before and its seconds after, so that nobody waits in silence.
set -euo pipefail
name=$1
shift
printf '==> %s\n' "$name"
began=$SECONDS
if ! "$@"; then
  printf '==> failed after %ss: %s\n' "$((SECONDS - began))" "$name" >&2
  exit 1
fi
printf '==> done in %ss: %s\n' "$((SECONDS - began))" "$name"
