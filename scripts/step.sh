#!/usr/bin/env bash
# Run one long step with its name before and its seconds after, so that nobody waits in silence.
#
#   step.sh [--ticks] NAME COMMAND...
#
# --ticks is for commands that say nothing themselves: on a terminal the seconds are counted while they run.
set -euo pipefail
ticks=false
if [[ $1 == --ticks ]]; then
  ticks=true
  shift
fi
name=$1
shift
began=$SECONDS
ticker=
if $ticks && [[ -t 1 ]]; then
  while sleep 1; do printf '\r==> %s: %ss' "$name" "$((SECONDS - began))"; done &
  ticker=$!
fi

stop_ticking() {
  if [[ -n $ticker ]]; then
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    ticker=
    printf '\r'
  fi
}
trap stop_ticking EXIT

printf '==> %s' "$name"
[[ -n $ticker ]] || printf '\n'
code=0
"$@" || code=$?
stop_ticking
if ((code != 0)); then
  printf '==> failed after %ss: %s\n' "$((SECONDS - began))" "$name" >&2
  exit "$code"
fi
printf '==> done in %ss: %s\n' "$((SECONDS - began))" "$name"
