# shellcheck shell=bash
# lib_demo.sh - how the demos speak. Sourced after lib.sh; knows neither servers nor services.

# say TEXT: a line that stays. progress TEXT: one that a terminal overwrites.
say() {
    [[ ! -t 1 ]] || printf '\r\033[K'
    printf '%s\n' "$*"
}

last_progress=0
progress() {
    if [[ -t 1 ]]; then
        printf '\r\033[K%s' "$*"
    elif (($(now_ms) - last_progress >= 2000)); then
        printf '%s\n' "$*"
        last_progress=$(now_ms)
    fi
}

# line WHAT NUMBER REMARK: a line of the verdict
line() { printf '  %-34s %9s   %s\n' "$@"; }
