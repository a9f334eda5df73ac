# shellcheck shell=bash
# check_files.sh - what tests/check does with one file: is it selected, run it, judge it, count and report it, run it
# once more, and what the summary says of all. Sourced by tests/check, which has the variables, the servers and the
# stages; knows nothing of what a file tests.
# shellcheck disable=SC2154 # work, began and the like are tests/check's

# wanted NAME: is it selected? A stage selects all its files, a file selects its stage.
wanted() {
    local pattern
    ((${#selection[@]} > 0)) || return 0
    for pattern in "${selection[@]}"; do
        pattern=${pattern#tests/}
        pattern=${pattern%.sh}
        pattern=${pattern%.c}
        [[ $1 != "$pattern" && $1 != "$pattern"/* && $pattern != "$1"/* ]] || return 0
    done
    return 1
}

# add_counts LOG: "# counts name=N ..." is added up for the summary
add_counts() {
    local word
    for word in $(sed -n 's/^# counts //p' "$1"); do
        counted[${word%%=*}]=$((${counted[${word%%=*}]:-0} + ${word#*=}))
    done
}

# report NAME PASSED FAILED SKIPPED MS LOG: one line; the whole log when something failed.
report() {
    local name=$1 good=$2 bad=$3 skip=$4 ms=$5 log=$6 word=ok counts
    passed=$((passed + good))
    failed=$((failed + bad))
    skipped=$((skipped + skip))
    counts="$good passed"
    ((bad == 0)) || counts+=", $bad failed"
    ((skip == 0)) || counts+=", $skip skipped"
    ((bad == 0)) || word=FAIL
    printf '%-4s  %-40s %-28s %5d.%d s\n' "$word" "$name" "$counts" $((ms / 1000)) $((ms % 1000 / 100))
    add_counts "$log"
    printf '%d %s\n' "$ms" "$name" >>"$work/times"
    sed -n 's/^# shown: /      /p' "$log" # figures for who reads along
    ((skip == 0)) || sed -n 's/^ok - \(.*\) # skip /\1: /p' "$log" | sed "s|^|skipped: $name: |" |
        tee -a "$work/skipped" | sed 's/^/      /'
    if ((bad > 0)); then
        failures+=("$name")
        sed 's/^/    | /' "$log"
        # again at the end, where it is seen
        { grep -E '^not ok |:[FE]:' "$log" || tail -n 3 "$log"; } | head -n 10 | cut -c 1-300 |
            sed "s|^|$name: |" >>"$work/failures"
    fi
}

# pass_over N WHAT REASON: so many cannot run here
pass_over() {
    skipped=$((skipped + $1))
    printf 'skip  %s: %s\n' "$2" "$3"
    printf 'skipped: %s: %s\n' "$2" "$3" >>"$work/skipped"
}

# counts_of_libcheck LOG STATUS -> "good bad skip"
counts_of_libcheck() {
    local checks fails errors n='\([0-9]*\)'
    read -r checks fails errors < <(
        sed -n "s/^$n%: Checks: $n, Failures: $n, Errors: $n\$/\2 \3 \4/p" "$1" | tail -n 1
    ) || true
    if [[ -z ${checks-} || $checks == 0 ]]; then
        printf 'no check ran, exit status %s\n' "$2" >>"$1"
        printf '0 1 0\n'
    elif (($2 != 0 && fails + errors == 0)); then
        printf 'all checks passed, yet exit status %s\n' "$2" >>"$1"
        printf '%d 1 0\n' "$checks"
    else
        printf '%d %d 0\n' $((checks - fails - errors)) $((fails + errors))
    fi
}

# counts_of_script LOG STATUS -> "good bad skip"
counts_of_script() {
    local good bad skip
    skip=$(grep -c -E '^ok .*# skip' "$1" || true)
    good=$(($(grep -c -E '^ok ' "$1" || true) - skip))
    bad=$(grep -c -E '^not ok ' "$1" || true)
    if ((bad == 0 && ($2 != 0 || good + skip == 0))); then
        printf 'exit status %s after %d checks\n' "$2" "$good" >>"$1"
        bad=1
    fi
    printf '%d %d %d\n' "$good" "$bad" "$skip"
}

# is_late KIND LOG STATUS: nothing failed in it but waits that came to their end
is_late() {
    local failures sign='timed out: |Test timeout expired$|Assertion .rig_wait_until\('
    ! grep -q -E 'Sanitizer|runtime error: |core dumped|Segmentation fault|Aborted' "$2" || return 1
    case $1 in
    libcheck)
        failures=$(grep -E '^[^ ]+:[0-9]+:[EF]:' "$2" | sed -E 's/^[^ ]+:[0-9]+:[EF]:[^:]*:[^:]*:[0-9]+: //')
        sign="^($sign|\(after this point\) Test timeout)"
        ;;
    script)
        (($3 == 1 || $3 == 75)) || return 1
        failures=$(grep '^not ok ' "$2" | sed -E 's/^not ok - [^:]*: (timed out: )/\1/'
            [[ $3 != 75 ]] || echo 'timed out: ') # it ended the script
        sign='^timed out: '
        ;;
    *) return 1 ;;
    esac
    [[ -n $failures ]] && ! grep -q -v -E "$sign" <<<"$failures"
}

# may_come_again: is there time for a second try?
may_come_again() { (($(now_ms) - began < again_minutes * 60000)); }

# put_off NAME "passed failed skipped ms": for run_again
put_off() {
    late+=("$1")
    late_counts[$1]=$2
    printf '%-4s  %-40s %s\n' late "$1" 'missed a deadline, and nothing else: once more at the end'
}

log_of() { printf '%s/%s.log\n' "$work" "$(tr '/' '_' <<<"$1")"; }

# execute NAME COMMAND...: leaves its log, and beside it "STATUS MS". In the background of its shell, for a wait
# ends with a signal at once, and so finish() can end it.
execute() {
    local log start status=0
    log=$(log_of "$1")
    start=$(now_ms)
    timeout -k 30 "$file_timeout" "${@:2}" >"$log" 2>&1 </dev/null &
    under_way=$!
    wait "$under_way" || status=$?
    ((status != 124)) || printf 'stopped after %d s\n' "$file_timeout" >>"$log"
    printf '%d %d\n' "$status" $(($(now_ms) - start)) >"$log.end"
}

# judge NAME KIND: of what was executed. KIND is libcheck, script or step (one check: the exit status).
judge() {
    local log status ms good bad skip
    log=$(log_of "$1")
    if [[ ! -e $log.end ]]; then
        printf 'not ok - it was ended from outside\n' >>"$log"
        printf '137 0\n' >"$log.end"
    fi
    read -r status ms <"$log.end"
    rm "$log.end"
    case $2 in
    libcheck | script) read -r good bad skip < <("counts_of_$2" "$log" "$status") ;;
    step) good=$((status == 0)) bad=$((status != 0)) skip=0 ;;
    esac
    if ((bad > 0)) && may_come_again && is_late "$2" "$log" "$status"; then
        put_off "$1" "$good $bad $skip $ms"
        return 1
    fi
    report "$1" "$good" "$bad" "$skip" "$ms" "$log"
    return $((bad > 0))
}

# run_file NAME KIND COMMAND...
run_file() {
    execute "$1" "${@:3}"
    judge "$1" "$2"
}

# judge_ended: one of those that were under way and have ended
judge_ended() {
    local pid
    for pid in "${!beside[@]}"; do
        ! is_child "$pid" || continue
        # shellcheck disable=SC2086 # words; judge looks at two
        judge ${beside[$pid]} || true
        unset "beside[$pid]"
        return 0
    done
    return 1
}
judge_next() { until judge_ended; do sleep 0.1; done; }
judge_all() { while ((${#beside[@]} > 0)); do judge_next; done; }
# judge_until PID: this one has ended
judge_until() { while [[ -n ${beside[$1]-} ]]; do judge_next; done; }

# take_place N: waits until fewer than N files are under way; sets `place`, which none of them has
take_place() {
    local i
    while ((${#beside[@]} >= $1)); do judge_next; done
    for ((i = 0; i < $1; i++)); do
        place=$i
        [[ " ${beside[*]} " != *" @$i "* ]] || continue
        return 0
    done
}

# run_beside NAME KIND COMMAND...: in the place that was taken. What it says comes when it has ended; judge_all
# ends the stage.
run_beside() {
    in_background execute "$1" "${@:3}" &
    beside[$!]="$1 $2 @$place"
}

# in_background COMMAND...: of this script, for `&`; what it executes ends with it
in_background() {
    trap 'end_process "$under_way"; exit 143' TERM
    "$@"
}

# counts_in LOG NAME -> "passed skipped", of a run of tests/check
counts_in() { sed -n -E "s|^ok +$2 +([0-9]+) passed(, ([0-9]+) skipped)? .*|\\1 \\3|p" "$1"; }

# run_again: the files that were put off, each alone, by a tests/check of its own
run_again() {
    local name log kept good skip
    judge_all
    stop_servers
    for name in "${late[@]}"; do
        log=$(log_of "$name")
        kept=$own_build/late/${log##*/}
        mkdir -p "${kept%/*}"
        cp "$log" "$kept"
        good=
        if may_come_again; then
            printf '== once more, alone: %s\n' "$name"
            # It has an end of its own: six minutes after the last moment to begin.
            local file_timeout=$(((again_minutes + 6) * 60 - ($(now_ms) - began) / 1000))
            execute "again $name" env AGAIN=0 O="$own_build" "$PWD/tests/check" "$name"
            log=$(log_of "again $name")
            ! grep -q '^0 ' "$log.end" || read -r good skip < <(counts_in "$log" "$name") || true
        fi
        if [[ -n $good ]]; then
            passed=$((passed + good)) skipped=$((skipped + ${skip:-0}))
            printf 'late once, passed alone: %s: %s (%s)\n' "$name" \
                "$({ grep -m 1 -o -E 'timed out: .*|Test timeout expired' "$kept" || tail -n 1 "$kept"; } | cut -c 1-200)" \
                "$kept" | tee -a "$work/late"
        else
            # shellcheck disable=SC2086 # four numbers
            report "$name" ${late_counts[$name]} "$(log_of "$name")"
            [[ $log == "$(log_of "$name")" ]] || sed 's/^/    | again: /' "$log"
        fi
    done
}

# what_ran: how much of what, and where the time went
what_ran() {
    local n seconds=$((($(now_ms) - began) / 1000))
    n=$(wc -l <"$work/times")
    ((n >= 10)) || return 0
    printf 'ran: %d files and builds in %d min %d s; the longest, beside others:\n' "$n" $((seconds / 60)) $((seconds % 60))
    sort -rn "$work/times" | awk 'NR <= 10 { printf "  %5d s  %s\n", $1 / 1000, $2 }' # head would end before sort has
    ((${#selection[@]} > 0)) || printf '%s%s\n' 'left to other commands: each second of the quick mutants and those that need servers (make mutants), ' \
        'other PostgreSQL (PG=all) and librdkafka (RDKAFKA=newest), the soak (make soak)'
}

summary() {
    told=yes
    [[ ! -e $work/times ]] || what_ran
    ((counted[histories] + counted[mutants] + counted[inputs] == 0)) || printf 'histories simulated: %d, mutants noticed: %d, inputs fuzzed: %d\n' \
        "${counted[histories]}" "${counted[mutants]}" "${counted[inputs]}"
    ((counted[faults] == 0)) || printf 'faults run: %d, kills: %d, rows checked: %d, duplicates: %d\n' \
        "${counted[faults]}" "${counted[kills]}" "${counted[rows]}" "${counted[duplicates]}"
    [[ ! -e $work/skipped ]] || cat "$work/skipped"
    [[ ! -e $work/late ]] || cat "$work/late"
    ((${#failures[@]} == 0)) || printf 'failed: %s\n' "${failures[*]}"
    [[ ! -e $work/failures ]] || sed 's/^/  /' "$work/failures"
    ((failed == 0)) || [[ -z $cluster ]] || printf 'logs of the servers: %s\n' "$work"
    printf '%d passed, %d failed' "$passed" "$failed"
    ((skipped == 0)) || printf ', %d skipped' "$skipped"
    printf '\n'
}
