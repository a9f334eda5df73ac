# shellcheck shell=bash
# check_builds.sh - what tests/check builds: for the files that are selected, for the sanitizers and other compilers,
# and which of it while others wait. Sourced by tests/check; runs no test.
# shellcheck disable=SC2154 # O, work and the like are tests/check's

# What the selected tests need; everything when nothing was selected.
build_targets() {
    local dir name
    if ((${#selection[@]} == 0)); then
        printf '%s\n' all tests man crash
        return
    fi
    for dir in unit core integration; do
        for name in $(files $dir 'test_*.c'); do
            ! wanted "$dir/$name" && ! wanted "valgrind/$dir/$name" && ! wanted "kafka/$name" &&
                ! { [[ $dir == integration ]] && wanted_on_servers "$name"; } ||
                printf '%s\n' "$O/tests/$dir/$name"
        done
    done
    ! wanted integration && ! wanted faults && ! wanted kafka && ! wanted asan && ! wanted servers ||
        printf '%s\n' lib relay tools
    ! wanted checks || printf 'all\nman\n' # which two of them would make at once
    ! wanted faults || printf 'crash\n'
    [[ -z ${RDKAFKA-} ]] || printf 'relay\n'
}

build_main() {
    local targets
    targets=$(build_targets)
    [[ -n $targets ]] || return 0
    # shellcheck disable=SC2086 # a list of words
    run_file build step make -s -j2 O="$O" WERROR=1 $targets
}

# Besides the main one. They are made while the fault tests wait for their servers, where both are wanted.
build_also() {
    local name=$1 args
    case $name in
    # What it runs, and no more of it. LeakSanitizer takes what ld.so keeps for threads as reachable by who called
    # calloc: test_nth_malloc's own must be gone from the stack.
    asan/build)
        args=(O="$O/asan" CFLAGS='-O1 -g1 -foptimize-sibling-calls' SAN="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer")
        mapfile -t -O "${#args[@]}" args < <(asan_files | sed "s|^|$O/asan/tests/|")
        args+=(relay)
        ;;
    clang) args=(CC=clang-14 syntax) ;;
    c11) args=(STD=c11 syntax) ;;
    ndebug/build)
        args=(O="$O/ndebug" CFLAGS='-DNDEBUG -O0' WERROR=1)
        mapfile -t -O "${#args[@]}" args < <(ndebug_files | sed "s|^|$O/ndebug/tests/|")
        ;;
    esac
    execute "$name" make -s -j2 "${args[@]}"
}
asan_files() {
    local dir name
    for dir in unit core integration; do
        for name in $(files $dir 'test_*.c'); do
            needs_kafka "$name" || ! wanted "asan/$dir/$name" || printf '%s/%s\n' "$dir" "$name"
        done
    done | first core/test_sim integration/test_nth_malloc integration/test_nth_malloc_relay integration/test_nth_inbox \
        integration/test_nth_source integration/test_held_due integration/test_read_load
}
# Where the asserts are: of the core and of the consumer's window. Not the simulation of the relay, which would double the
# time to build.
ndebug_files() {
    local file
    for file in core/test_inbox_sim unit/test_inbox_window \
        $(files core 'test_*.c' | grep -v sim | sed 's|^|core/|'); do
        ! wanted "ndebug/$file" || printf '%s\n' "$file"
    done
}

build_ahead() {
    local name
    for name in asan/build clang c11 ndebug/build; do
        ! wanted "${name%/build}" || build_also "$name"
    done
}
# built NAME: did it compile?
built() {
    [[ -z $ahead ]] || wait "$ahead" || true
    ahead=
    [[ -e $(log_of "$1").end ]] || build_also "$1"
    judge "$1" step
}
