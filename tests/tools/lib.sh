# shellcheck shell=bash
# lib.sh - what the test scripts share: processes by pid, conditions with a deadline, free ports.
# Sourced, never run. Needs bash, coreutils and util-linux only (no procps).

# die [-N] TEXT...: say why on stderr and leave with status N (1; 75 after a wait in vain).
die() {
    local code=$((${#timed_out} > 0 ? 75 : 1))
    if [[ ${1-} =~ ^-[0-9]+$ ]]; then
        code=${1#-}
        shift
    fi
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$code"
}

# usage [WORD...]: where the command line is not enough for the script, the head of the script, which explains it;
# and the script ends, well only if that was asked for.
usage() {
    local asked=0 script=$0
    case ${1-} in -h | --help) asked=1 ;; esac
    [[ -e $script ]] || script=$OLDPWD/$0 # the script has gone elsewhere since
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$script" >&$((2 - asked))
    exit $((asked ? 0 : 64))
}

# Debian's psql is a wrapper in Perl that costs five times what most statements here do, and conditions are
# asked often: the program behind it goes first.
use_real_psql() {
    local dir
    [[ $(readlink -f "$(type -P psql)") == */pg_wrapper ]] || return 0
    dir=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    [[ ! -x $dir/psql ]] || PATH=$dir:$PATH
}
use_real_psql

# alive PID: is it running? A zombie that nobody has reaped counts as gone.
alive() {
    local stat
    [[ -n ${1-} ]] || return 1
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    [[ ${stat##*) } != [ZX]* ]]
}

# is_child PID: does it run, and is it this shell's own? What is remembered of one that has ended may by now name
# somebody else's: where ids are 32768, the tests go through all of them in a minute or two.
is_child() {
    local stat
    [[ -n ${1-} ]] || return 1
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    [[ ${stat##*) } == [!ZX]" $$ "* ]]
}

# now_ms: milliseconds of a clock that only goes forward; look_at_clock leaves them in $clock_ms.
look_at_clock() {
    local up
    read -r up _ </proc/uptime
    clock_ms=$((10#${up/./} * 10))
}
now_ms() {
    look_at_clock
    printf '%d\n' "$clock_ms"
}

# A deadline bounds a wait and says nothing about speed: SECONDS are ample for an idle machine, and a
# busy one gets so many times that. No wait is shorter than `ample`, in seconds, which is for `timeout` and the
# like as well: a machine that is slow for a while must not miss it.
patience=${TEST_PATIENCE:-6}
ample=$((30 * patience))

# What every wait of a script rests on: a command that ends the script when waiting is in vain.
rests_on=:
# A command that holds as long as nothing but time can be what is missing.
late_if=:
# What the last wait has waited for in vain, when nothing else was wrong.
timed_out=

# wait_until SECONDS COMMAND...: run COMMAND until it succeeds; fails when SECONDS times patience are up, and
# `ample` at the earliest: with 75, or with 1 when it is not for want of time. Many wait beside each other, and a look
# often asks a server: between two of them goes a tenth of the time that it has lasted, 20 to 100 ms.
wait_until() {
    local seconds=$(($1 * patience)) clock_ms waits_since interval
    look_at_clock
    waits_since=$clock_ms seconds=$((seconds > ample ? seconds : ample))
    shift
    timed_out=
    until "$@"; do
        "$rests_on"
        look_at_clock
        if ((clock_ms - waits_since >= seconds * 1000)); then
            "$late_if" || return 1
            timed_out=$*
            return 75
        fi
        interval=$(((clock_ms - waits_since) / 10))
        interval=$((interval < 20 ? 20 : interval > 100 ? 100 : interval))
        printf -v interval '0.%03d' "$interval"
        sleep "$interval" # the interval between two looks, not a wait that anything relies on
    done
    timed_out=
}

# gone PID: the opposite of alive, for wait_until.
gone() { ! alive "$1"; }

# end_process PID [SECONDS]: TERM, then KILL when it has not ended in time (as wait_until counts it). Fine with a dead one.
end_process() {
    alive "${1-}" || return 0
    kill -TERM "$1" 2>/dev/null || return 0
    kill -CONT "$1" 2>/dev/null || true # a stopped process would not see the TERM
    wait_until "${2:-10}" gone "$1" && return 0
    kill -KILL "$1" 2>/dev/null || return 0
    wait_until 10 gone "$1"
}

# port_taken PORT: does anybody listen on it, on any address?
port_taken() {
    local hex
    printf -v hex '%04X' "$1"
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v p=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == p { f = 1 } END { exit !f }'
}

# Nobody else under the same tests/check gets it.
reserved() { [[ -z ${OUTBOX_TEST_PORTS-} ]] || mkdir "$OUTBOX_TEST_PORTS/$1" 2>/dev/null; }

# free_port: a port of 127.0.0.1 that nobody listens on, outside the kernel's ephemeral range.
free_port() {
    local port
    for _ in {1..200}; do
        port=$((20000 + RANDOM % 10000))
        ! port_taken "$port" && reserved "$port" && printf '%d\n' "$port" && return 0
    done
    die "no free port between 20000 and 29999"
}
