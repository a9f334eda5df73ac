# shellcheck shell=bash
# lib_demo.sh - how the demos speak and build. Sourced after lib.sh; knows neither servers nor services. Wants `dir` and O.

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

# count_objects: how many files are compiled, until the mark of the build is gone (with `dir`, if the script ends)
count_objects() {
    local n
    while [[ -e $dir/building ]]; do
        n=$(find "$O" -name '*.o' -newer "$dir/building" 2>/dev/null | wc -l)
        progress "building$( ((n == 0)) || printf ': %d files compiled' "$n") ..."
        sleep 0.2 # the interval between two looks
    done
}

# compile TARGET...: with make, which takes a minute or two on a new machine and says how far it is
compile() {
    local counter status=0
    : >"$dir/building"
    count_objects &
    counter=$!
    make -s -j2 O="$O" "$@" >"$dir/build.log" 2>&1 || status=$?
    rm -f "$dir/building"
    wait "$counter" || true
    ((status == 0)) || {
        say "the build failed:"
        cat "$dir/build.log" >&2
        exit 1
    }
}

# next_step TEXT...: what to do when it was good, a line each. tests/checks/manual.sh: "Words" are headings of README.md.
next_step() {
    printf '\n'
    printf 'next: %s\n' "$@"
}
