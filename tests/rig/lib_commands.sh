# shellcheck shell=bash
# lib_commands.sh - what the tests of the sub-commands share: one is run, and what it said is looked at.
# Sourced by tests/integration; lib_relay.sh is what it stands on.

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_relay.sh"

# cmd ARGUMENT...: out, err and code of a command that must end
cmd() {
    local verb=$1
    shift
    code=0
    timeout "$ample" "$OUTBOX_RELAY" "$verb" -X "dsn=$relay_dsn" "$@" >"$dir/out" 2>"$dir/err" </dev/null || code=$?
    out=$(<"$dir/out") err=$(<"$dir/err")
}

# person ANSWER ARGUMENT...: the same at a terminal, where somebody types the answer; all that is seen is in out
person() {
    local answer=$1 verb=$2
    shift 2
    code=0 err=
    printf '%s\n' "$answer" | SHELL=/bin/bash timeout "$ample" script -qec \
        "$(printf '%q ' "$OUTBOX_RELAY" "$verb" -X "dsn=$relay_dsn" "$@")" /dev/null >"$dir/out" 2>/dev/null || code=$?
    out=$(tr -d '\r' <"$dir/out")
}

# said_so NAME STATUS PATTERN: of the last command, on stdout or stderr
said_so() {
    timed_out=
    if [[ $code != "$2" ]]; then
        not_ok "$1" "exit status $code, not $2: $out $err"
    elif ! grep -q -e "$3" <<<"$out
$err"; then
        not_ok "$1" "no '$3' in: $out $err"
    else
        ok "$1"
    fi
}

# says NAME STATUS PATTERN ARGUMENT...
says() {
    local name=$1 want=$2 pattern=$3
    shift 3
    cmd "$@"
    said_so "$name" "$want" "$pattern"
}

# finds NAME STATUS PATTERN ARGUMENT...: doctor, with the brokers of `kafka`, finds it and says what to do
finds() {
    local name=$1 want=$2 pattern=$3
    shift 3
    cmd doctor "${kafka[@]}" "$@"
    said_so "$name" "$want" "$pattern"
    holds "${name}_has_a_remedy" grep -q -e '^  *do: ' <(grep -A1 -e "$pattern" "$dir/out")
}

# j EXPRESSION: of j, the last command's stdout as jsonb
j() {
    psql -XqAt -v ON_ERROR_STOP=1 -d "$dsn" <<END
\\set j \`cat $(printf '%q' "$dir/out")\`
select $1 from (select :'j'::jsonb as j) x
END
}

# hold STATE ID [ATTEMPTS]: the event is in held, as the relay leaves it; retrying: due in an hour
hold() {
    sql "insert into outbox.held (id, bucket, topic, key, state, attempts, next_attempt_at, first_error_at, error_code, error)
         select e.id, e.bucket, e.topic, e.key, '$1', ${3:-5}, case when '$1' = 'retrying' then now() + interval '1 hour' end,
                case when '$1' in ('retrying', 'dead') then timestamptz '2026-01-02 03:04:05.678+00' end,
                case when '$1' in ('retrying', 'dead') then 'MSG_SIZE_TOO_LARGE' end,
                case when '$1' in ('retrying', 'dead') then 'Broker: Message size too large' end
           from outbox.event e where e.id in ($2)"
}
mark() { sql "insert into outbox.sent (bucket, id) select bucket, id from outbox.event where id in ($1)"; }
event_id() { sql "select event_id from outbox.event where id = $1"; }
