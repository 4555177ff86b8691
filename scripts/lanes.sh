# shellcheck shell=bash
# Lanes: what the test command does side by side. Sourced by test.sh; it only defines functions, and
# counts what the steps report in "$reports/summary".

declare -a queue=() # "FUNCTION|LABEL|what it is called"

add_step() {
  queue+=("$1|$2|$3")
}

# record NAME SECONDS STATUS [REPORT LABEL]: one line for the summary, and the counts in front of it.
record() {
  local name=$1 seconds=$2 status=$3 report=${4:-} label=${5:-} verdict=ok
  local good=0 bad=0 left_out=0
  if [[ -s "$report" ]]; then
    read -r good bad left_out <<<"$(on "$label" "${pythons[$label]}" scripts/junit_total.py "$report")"
  fi
  ((status == 0 || bad > 0)) || bad=1
  ((status == 0)) || verdict="FAILED (exit code $status)"
  printf '%d %d %d %-48s %5d s  %5d passed %3d failed %4d skipped  %s\n' "$good" "$bad" "$left_out" \
    "$name" "$seconds" "$good" "$bad" "$left_out" "$verdict" >>"$reports/summary"
}

# record_left_out NAME: what could not be tested here counts as one skipped test.
record_left_out() {
  printf '0 0 1 %-48s left out, see above\n' "$1" >>"$reports/summary"
}

# show NAME SECONDS STATUS LOG [REPORT LABEL]: what has ended, its output whole.
show() {
  {
    flock 6
    record "$1" "$2" "$3" "${@:5}"
    printf '\n=== %s\n' "$1"
    cat "$4"
  } 6>>"$reports/printing"
}

run_step() {
  local function label name status=0 started=$SECONDS
  IFS='|' read -r function label name <<<"${queue[$1]}"
  local report=$reports/$1.xml log=$reports/$1.log
  "$function" "$label" "$report" </dev/null >"$log" 2>&1 || status=$?
  show "$name" $((SECONDS - started)) "$status" "$log" "$report" "$label"
  : >"$reports/$1.recorded"
}

take_number() {
  local next
  {
    flock 5
    next=$(cat "$reports/next")
    echo $((next + 1)) >"$reports/next"
  } 5>>"$reports/taking"
  echo "$next"
}

# Takes steps until none is left.
run_lane() {
  local number
  while true; do
    number=$(take_number)
    ((number < ${#queue[@]})) || return 0
    run_step "$number"
  done
}

run_queue() {
  local lane number name
  local -a lanes=()
  for ((lane = 0; lane < ${LANES:-$(($(nproc) < 4 ? $(nproc) : 4))}; ++lane)); do
    lanes+=(run_lane)
  done
  echo 0 >"$reports/next"
  in_lanes "${lanes[@]}"
  # A lane that was killed, for want of memory perhaps, has not said what became of its step.
  for number in "${!queue[@]}"; do
    IFS='|' read -r _ _ name <<<"${queue[$number]}"
    [[ -e "$reports/$number.recorded" ]] || record "$name: has not ended" 0 1
  done
}

# in_lanes COMMAND...: runs the commands, each a string of words, side by side until all have ended.
in_lanes() {
  local command
  trap 'end_lanes 130' INT
  trap 'end_lanes 143' TERM HUP
  for command in "$@"; do
    $command &
  done
  wait
}

# Ctrl-C reaches neither the lanes, which are background jobs, nor what runs under a time limit, which
# `timeout` puts in a group of its own.
end_lanes() {
  local lane
  trap '' INT TERM HUP
  for lane in $(jobs -p); do
    end_process "$lane"
  done
  wait
  exit "$1"
}

# end_process PID: and what it has started. The parent comes first, or a lane would take the next step.
end_process() {
  local child children
  children=$(cat /proc/"$1"/task/*/children 2>/dev/null) || true
  kill "$1" 2>/dev/null || true
  for child in $children; do
    end_process "$child"
  done
}
