# shellcheck shell=bash
# cases.sh - what a script of tests says of its cases: "ok - NAME" or "not ok - NAME: WHY", a line each.
# Sourced after lib.sh; `bad` is the script's exit status. "timed out: " stands before WHY where nothing but a wait
# (wait_until) came to its end: tests/check gives a file that has no other failure a second try.

bad=0
wrong=0 # the same, but for failures of waits alone

ok() {
    timed_out=
    printf 'ok - %s\n' "$1"
}
not_ok() {
    local why=${*:2}
    printf 'not ok - %s: %s%s\n' "$1" "${timed_out:+timed out: }" "${why//$'\n'/ | }"
    [[ -n ${timed_out-} ]] || wrong=1
    bad=1 timed_out=
}
# skip NAME WHY
skip() { ok "$1 # skip $2"; }
# last FILE: for a WHY, the end of a long text in one line
last() { tail -n 2 "$1" | tr '\n' ' '; }
# equal NAME WANT GOT
equal() {
    timed_out=
    if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "wanted $2, got $3"; fi
}
# nothing NAME GOT: it must be empty
nothing() {
    timed_out=
    if [[ -z $2 ]]; then ok "$1"; else not_ok "$1" "$2"; fi
}
# holds NAME COMMAND...: what the command prints explains a failure
holds() {
    local name=$1 said status=0
    shift
    said=$("$@" 2>&1) || status=$?
    timed_out=
    ((status != 75 && status != 124)) || timed_out=$* # of wait_until, or of timeout
    if ((status == 0)); then ok "$name"; else not_ok "$name" "$* $said"; fi
}
# check NAME COMMAND...: the last lines of its output explain a failure
check() {
    local name=$1 said
    shift
    timed_out=
    if said=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$(tail -n 3 <<<"$said")"; fi
}
