# shellcheck shell=bash
# lib_held.sh - what the tests of outbox.held share. Sourced; brings tests/faults/lib_faults.sh with it.
#
#   note_held                every change of outbox.held from now on is noted in held_log; after own_database
#   command_of VERB ...      a command of the relay on the case's database: stdout in $said, status in $code
#   held_judge NAME ...      the writer ends, and each event arrives or is held as dead, discarded or blocked
#                            behind a dead one of its key; outbox.held itself must be sound
#   run_cases [NAME ...]     the functions case_NAME, all in their order or those named

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"

small=(-X kafka.message.max.bytes=2000) # the producer itself refuses what is larger
quick=(-X retry.attempts=2)
large_payload="convert_to(repeat('x', 3000), 'UTF8')"
said=
code=0

note_held() {
    sql "create table public.held_log (at timestamptz default clock_timestamp(), id bigint, topic text, was text, state text,
             attempts int, code text, maybe boolean);
         create function public.note_held() returns trigger language plpgsql as \$\$
         begin
             if tg_op = 'TRUNCATE' then
                 truncate public.held_log;
             elsif tg_op = 'DELETE' then
                 insert into public.held_log (id, topic, was) values (old.id, old.topic, old.state);
             elsif tg_op = 'UPDATE' then
                 insert into public.held_log (id, topic, was, state, attempts, code, maybe)
                 values (new.id, new.topic, old.state, new.state, new.attempts, new.error_code, new.maybe_delivered);
             else
                 insert into public.held_log (id, topic, state, attempts, code, maybe)
                 values (new.id, new.topic, new.state, new.attempts, new.error_code, new.maybe_delivered);
             end if;
             return null;
         end \$\$;
         create trigger note_held after insert or update or delete on outbox.held for each row execute function public.note_held();
         create trigger note_truncate after truncate on outbox.held for each statement execute function public.note_held()"
}

# n_held CONDITION, n_noted CONDITION: the queries
n_held() { printf 'select count(*) from outbox.held where %s' "$1"; }
n_noted() { printf 'select count(*) from held_log where %s' "$1"; }
n_sent() { printf 'select count(*) from outbox.sent s join outbox.event e using (bucket, id) where %s' "$1"; }

command_of() {
    code=0
    said=$(timeout "$ample" "$OUTBOX_RELAY" "$1" -X "dsn=$dsn" "${@:2}" 2>&1 </dev/null) || code=$?
}
# commanded NAME STATUS PATTERN VERB ARGUMENT...
commanded() {
    command_of "${@:4}"
    if [[ $code == "$2" ]] && grep -q -e "$3" <<<"$said"; then ok "$1"; else not_ok "$1" "exit status $code: $said"; fi
}
# told EXPRESSION: of j, what the last command printed, as jsonb
told() { psql -XqAt -v ON_ERROR_STOP=1 -v j="$said" -d "$dsn" <<<"select $1 from (select :'j'::jsonb as j) x"; }

# Each line is one row that is held and must not be so: sent, or sent by nobody for ever. A group's first
# row that is not dead must be due some day.
unsound="select h.id, h.state, 'is sent' from outbox.held h join outbox.sent s using (bucket, id)
         union all
         select g.id, g.state, 'is first of its key and never due'
         from (select distinct on (h.topic, h.key) h.* from outbox.held h
               where h.key is not null and h.state in ('retrying', 'blocked', 'dead') order by h.topic, h.key, h.id) g
         where g.state <> 'dead' and not exists (select from outbox.held n where n.topic = g.topic and n.key = g.key
               and n.state in ('retrying', 'blocked') and n.next_attempt_at is not null)
         union all
         select h.id, h.state, 'has a time, or none' from outbox.held h
         where (h.state in ('retrying', 'scheduled')) <> (h.next_attempt_at is not null) and h.state <> 'blocked'
         union all
         select h.id, h.state, 'spent attempts' from outbox.held h
         where h.state in ('paused', 'scheduled') and h.attempts > 0
         union all
         select h.id, h.state, 'has no reason' from outbox.held h
         where h.state in ('retrying', 'dead', 'discarded', 'paused') and h.error_code is null"

held_judge() {
    [[ -z $writer_pid ]] || writer_stop
    judge "$1" --deadline "${judge_deadline:-40}" --allow-held missing=0 unmarked=0 gaps=0 "${@:2}"
    [[ -z $watch_pid ]] || watch_stop
    equal "$1: held_is_sound" '' "$(sql "$unsound")"
}

run_cases() {
    local this_case began
    if (($# == 0)); then
        # shellcheck disable=SC2046 # words
        set -- $(grep -oE '^case_[a-z_0-9]+' "$0" | cut -c 6-)
    fi
    for this_case in "$@"; do
        began=$(now_ms)
        "case_$this_case"
        printf '# %s: %d ms\n' "$this_case" $(($(now_ms) - began))
    done
}
