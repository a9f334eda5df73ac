# shellcheck shell=bash
# lib_sql.sh - what the tests of the SQL files share: a private PostgreSQL, statements run as a role, sessions that
# stay open. Sourced with $root and $up set; sets `work` (removed at exit), `db` and `as`.
#
# PG_BINDIR chooses the server's version; psql comes
# from PATH.

# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
pg=$root/tests/tools/pg
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-sql.XXXXXX")
sessions=()
db=outbox
as=

finish() {
    local pid
    for pid in ${sessions[@]+"${sessions[@]}"}; do
        ! is_child "$pid" || end_process "$pid"
    done
    "$pg" remove "$work/pg" >/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# The test role is called outbox too, so the default search_path would hide a name left unqualified.
options() { printf '%s' "-c search_path=public -c client_min_messages=warning ${as:+-c role=$as}"; }

# run ARGS...: psql on database $db, as role $as when that is set.
run() {
    PGOPTIONS=$(options) \
        psql -XqAt -v ON_ERROR_STOP=1 -d "$base dbname=$db" "$@"
}

q() { run -c "$1"; }
apply() { run -1 -f "$1"; }

# gives NAME EXPECTED SQL
gives() {
    local got
    got=$(q "$3" 2>&1) || true
    equal "$1" "$2" "$got"
}

# works NAME COMMAND...
works() {
    local name=$1 got
    shift
    timed_out=
    if got=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$got"; fi
}

# refuses NAME PATTERN COMMAND...: it fails, and says what the pattern (a glob) says
refuses() {
    local name=$1 pattern=$2 got
    shift 2
    timed_out=
    if got=$("$@" 2>&1); then
        not_ok "$name" "was accepted"
    # shellcheck disable=SC2053 # the right side is a pattern
    elif [[ $got == *$pattern* ]]; then
        ok "$name"
    else
        not_ok "$name" "said: $got"
    fi
}

# The catalogue rows of the schema with their versions: equal means that nothing was touched.
fingerprint() {
    q "select md5(string_agg(t, ',' order by t)) from (
         select format('%s %s %s', oid, xmin, relacl) t from pg_class where relnamespace = 'outbox'::regnamespace
         union all select format('%s %s', oid, xmin) from pg_proc where pronamespace = 'outbox'::regnamespace
         union all select format('%s %s %s', objoid, objsubid, xmin) from pg_description
         union all select format('%s %s', name, xmin) from outbox.relay
         union all select format('%s %s', version, xmin) from outbox.schema_version) x"
}

# refused_alone NAME FILE: outside of a transaction, also where what the file sets first is what the role has anyway.
refused_alone() {
    q "alter role current_user set lock_timeout = '2s'"
    refuses "$1_outside_a_transaction_is_refused" "must run in one transaction" run -f "$2"
    q "alter role current_user reset lock_timeout"
}

# Neither does psql, left to itself, wait for an answer to an error: it goes on with what follows.
apply_regardless() { PGOPTIONS=$(options) psql -XqAt -d "$base dbname=$db" "${@:2}" -f "$1" 2>&1; }

# undo FILE: the statements by which its head says that it is undone
undo() { q "$(sed -n 's/^-- \{13\}\([A-Z].*;\)$/\1/p' "$1")"; }

# The stored default, with now() replaced, against plain arithmetic.
buckets_agree() {
    q "do \$\$
       declare e text := (select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = 'outbox.event'::regclass
                           and adnum = (select attnum from pg_attribute where attrelid = adrelid and attname = 'bucket'));
               t text; got int; want int;
       begin
         if e !~ 'now\(\)' then raise exception 'not of now(): %', e; end if;
         foreach t in array array['1970-01-01 00:00:00+00', '2024-02-29 23:59:59.5+00', '2026-01-01 23:59:59.999999+00',
                                  '2026-01-02 00:00:00+00', '2026-01-02 00:00:00.000001+00', '2037-12-31 12:00:00.5+00'] loop
           execute 'select ' || replace(e, 'now()', quote_literal(t) || '::timestamptz') into got;
           want := (extract(epoch from date_trunc('second', t::timestamptz))::bigint / $1) % 8;
           if got <> want then raise exception '% gives %, not %', t, got, want; end if;
         end loop;
       end \$\$"
}

fresh() {
    db=$1
    "$pg" createdb "$work/pg" "$db" >/dev/null
}

# talk NAME: a psql in the background that takes SQL through tell, with NAME as application_name.
talk() {
    mkfifo "$work/$1.in"
    : >"$work/$1.out" # here, or what an earlier session of this name said might still be read
    PGOPTIONS=$(options) PGAPPNAME=$1 psql -XqAt -d "$base dbname=$db" \
        <"$work/$1.in" >>"$work/$1.out" 2>&1 &
    sessions+=("$!")
    printf -v "pid_$1" '%s' "$!"
    exec {fd}>"$work/$1.in"
    printf -v "fd_$1" '%s' "$fd"
}

tell() {
    local fd=fd_$1
    printf '%s\n' "$2" >&"${!fd}"
}

# away NAME: its process in the server has ended, with its transaction and its locks, which is a moment after psql has
away() { [[ $(q "select count(*) from pg_stat_activity where application_name = '$1'") == 0 ]]; }
# hush NAME: ends the session. Later sessions inherited the pipe, so closing it alone would not do.
hush() {
    local fd=fd_$1 pid=pid_$1
    tell "$1" '\q'
    fd=${!fd}
    exec {fd}>&-
    wait "${!pid}" || true
    rm -f "$work/$1.in"
    wait_until 10 away "$1" || true
}

# said NAME WORD: the session has printed WORD on a line of its own.
said() { grep -qx "$2" "$work/$1.out"; }

state_of() { q "select coalesce(wait_event_type, '') from pg_stat_activity where application_name = '$1'"; }
waits() { [[ $(state_of "$1") == Lock ]]; }
