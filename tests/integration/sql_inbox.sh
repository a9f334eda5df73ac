#!/usr/bin/env bash
# sql_inbox.sh - the SQL files of the inbox, run and tried on a private PostgreSQL, where there is no outbox.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/tools/lib.sh
. "$root/tests/tools/lib.sh"
up=$root/sql/002_inbox.up.sql
down=$root/sql/002_inbox.down.sql
roles=$root/sql/inbox_roles.sql
# shellcheck source=tests/rig/lib_sql.sh
. "$root/tests/rig/lib_sql.sh"

test_install() {
    q "alter role current_user set lock_timeout = '2s'" # as the file sets it, which says nothing of a transaction
    refuses "up_outside_a_transaction_is_refused" "must run in one transaction" run -f "$up"
    q "alter role current_user reset lock_timeout"
    gives "refused_up_leaves_nothing" "" "select to_regnamespace('inbox')"
    works "up_without_an_outbox" apply "$up"
    gives "up_records_its_version" "2|0.1.0|t" "select version, min_library, breaking from inbox.schema_version"
    refuses "up_again_is_refused" "already installed" apply "$up"
    gives "all_leaves_exist" "8" "select count(*) from pg_inherits where inhparent = 'inbox.seen'::regclass"
    gives "one_bucket_is_current" "0" "select string_agg(bucket::text, ',') from inbox.ring where is_current"
    gives "every_relation_has_a_comment" "" "select string_agg(relname, ',') from pg_class c
        where relnamespace = 'inbox'::regnamespace and relkind in ('r', 'p', 'v') and obj_description(oid, 'pg_class') is null"
    gives "every_column_has_a_comment" "" "select string_agg(c.oid::regclass || '.' || attname, ',')
        from pg_attribute a join pg_class c on c.oid = attrelid
        where relnamespace = 'inbox'::regnamespace and relkind in ('r', 'p', 'v') and not relispartition
          and attnum > 0 and col_description(attrelid, attnum) is null"
    gives "functions_are_commented_and_not_public" "t|0" "select bool_and(obj_description(oid, 'pg_proc') is not null),
        (select count(*) from pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
          where pronamespace = 'inbox'::regnamespace and a.grantee = 0)
        from pg_proc where pronamespace = 'inbox'::regnamespace"
}

test_accept() {
    gives "a_new_id_is_new_and_then_is_not" "t|f" "select inbox.accept('c', 'a'), inbox.accept('c', 'a')"
    gives "another_consumer_has_its_own" "t" "select inbox.accept('d', 'a')"
    gives "of_many_the_new_ones_come_back" "b,z" "select array_to_string(array(select unnest(inbox.accept_many('c', array['z', 'a', 'b', 'z'])) order by 1), ',')"
    gives "a_rolled_back_id_is_new_again" "t" "begin; do \$\$ begin perform inbox.accept('c', 'r'); end \$\$; rollback; select inbox.accept('c', 'r')"
    gives "known_are_those_that_were_stored" "a,b" "select array_to_string(inbox.known('c', array['a', 'q', 'b']), ',')"
    refuses "an_older_snapshot_is_refused" "use READ COMMITTED" q "begin isolation level repeatable read; select inbox.accept('c', 'i')"
    # Two transactions at once: the second waits, and finds it or not as the first ends.
    talk one
    tell one "begin; select inbox.accept('c', 'both');"
    wait_until 10 said one t || not_ok "the_first_takes_it" "$(<"$work/one.out")"
    talk two
    tell two "select 'two ' || inbox.accept('c', 'both');"
    wait_until 10 waits two || not_ok "the_second_waits" "$(<"$work/two.out")"
    tell one "commit;"
    wait_until 10 said two "two false" && ok "the_second_waits_and_finds_it" || not_ok "the_second_waits_and_finds_it" "$(<"$work/two.out")"
    hush one
    hush two
}

due="update inbox.ring set filled_since = now() - interval '2 days' where is_current"
free="$due; update inbox.ring set filled_until = now() - interval '60 days' where not is_current"
test_turn() {
    q "delete from inbox.consumer; truncate inbox.seen"
    gives "the_ring_does_not_turn_early" "early|" "select * from inbox.turn()"
    q "select inbox.accept('c', 'old'); $due" >/dev/null
    gives "after_a_day_it_turns" "turned|1" "select * from inbox.turn()"
    gives "an_id_of_an_earlier_bucket_is_known" "f" "select inbox.accept('c', 'old')"
    q "select inbox.accept('c', 'new')" >/dev/null
    gives "new_ids_go_to_the_new_bucket" "1" "select bucket from inbox.seen where event_id = 'new'"
    # All the way round: what is younger than dedupe_keep stays.
    q "update inbox.ring set filled_until = now() - interval '1 day' where bucket = 0"
    for _ in 2 3 4 5 6 7; do q "$due; select inbox.turn()" >/dev/null; done
    q "$due"
    gives "a_bucket_that_is_too_young_is_kept" "young|" "select * from inbox.turn()"
    gives "its_ids_are_there" "f" "select inbox.accept('c', 'old')"
    q "update inbox.ring set filled_until = now() - interval '8 days' where bucket = 0"
    q "insert into inbox.consumer values ('slow', '30 days')"
    gives "the_longest_dedupe_keep_counts" "young|" "$due; update inbox.ring set filled_since = now() - interval '9 days' where is_current; select * from inbox.turn()"
    q "delete from inbox.consumer"
    gives "an_old_one_is_emptied" "turned|0" "select * from inbox.turn()"
    gives "and_takes_new_ids" "t" "select inbox.accept('c', 'old')"
    # Somebody may think about a dead letter for longer than ids are kept.
    q "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, reason) values ('c', 't', 0, 1, 'dead', 'rejected')"
    gives "a_dead_letter_without_its_id_is_known" "{dead}|f|{q}" "select inbox.known('c', '{dead,q}'), inbox.accept('c', 'dead'), inbox.accept_many('c', '{dead,q}')"
    gives "to_its_consumer" "{}|t" "select inbox.known('d', '{dead}'), inbox.accept('d', 'dead')"
    # What was discarded goes then, and nobody who accepts waits for that: there may be a million of it.
    q "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, reason, state, changed_at)
           select 'c', 't', 0, 2, 'since' || n, 'rejected', 'discarded', now() - n * interval '1 day' from unnest('{6,8}'::int[]) n;
       create function public.look() returns trigger language plpgsql as \$\$ begin
           if exists (select from pg_locks where relation = 'inbox.ring'::regclass and mode = 'AccessExclusiveLock') then
               raise exception 'all wait'; end if; return old; end \$\$;
       create trigger look before delete on inbox.dead for each row execute function public.look(); $free"
    talk accepts
    tell accepts "begin; select inbox.accept('c', 'meanwhile');"
    wait_until 10 said accepts t || not_ok "one_accepts" "$(<"$work/accepts.out")"
    gives "the_ring_does_not_turn_meanwhile" "locked" "select outcome from inbox.turn()"
    gives "but_what_was_discarded_goes_after_dedupe_keep" "dead, since6" "select string_agg(event_id, ', ' order by id) from inbox.dead"
    tell accepts "commit;"
    hush accepts
    gives "and_then_it_turns" "turned" "select outcome from inbox.turn()"
    q "drop function public.look cascade; delete from inbox.dead"
}

# A transaction that took an id before the ring turned, and one that takes it after.
test_turn_race() {
    q "$free"
    talk holder
    tell holder "begin; select inbox.accept('c', 'race');"
    wait_until 10 said holder t || not_ok "the_holder_takes_it" "$(<"$work/holder.out")"
    gives "the_ring_does_not_turn_under_a_transaction" "locked|" "select * from inbox.turn()"
    talk other
    tell other "select 'other ' || inbox.accept('c', 'race');"
    wait_until 10 waits other || not_ok "the_other_waits" "$(<"$work/other.out")"
    tell holder "commit;"
    wait_until 10 said other "other false" && ok "an_id_is_taken_once_around_a_turn" || not_ok "an_id_is_taken_once_around_a_turn" "$(<"$work/other.out")"
    gives "afterwards_it_turns" "turned" "select outcome from inbox.turn()"
    gives "and_the_id_is_known" "f" "select inbox.accept('c', 'race')"
    hush holder
    hush other
}

# finish OWNER IDS OFFSET [SIGN [APPLIED]]
finish_as() { q "begin; do \$\$ begin perform set_config('inbox.transaction', '${4:-$1}', true); perform inbox.finish('c', '$1', '$2', '{t}', '{0}', '{$3}', '{$3}', '{-7}', ${5:-1}); end \$\$; commit"; }
test_finish() {
    gives "a_first_claim_has_no_position" "||" "select * from inbox.claim('c', 't', 0, 'me')"
    works "the_owner_moves_it_with_a_dead_letter" finish_as me '{f0}' 4 me 0
    gives "which_applies_nothing" "t" "select moved_at is not null and applied_at is null from inbox.position"
    works "the_owner_moves_it" finish_as me '{f1}' 5
    gives "and_applies" "t" "select applied_at > moved_at from inbox.position"
    works "another_dead_letter" finish_as me '{f9}' 5 me 0
    gives "changes_nothing_of_that" "t" "select applied_at < moved_at from inbox.position"
    gives "the_position_and_the_id_are_stored" "5|f" "select next_offset, inbox.accept('c', 'f1') from inbox.position"
    refuses "an_id_that_was_stored_meanwhile_is_told" "applied by another transaction" finish_as me '{f1,f2}' 6
    gives "and_nothing_of_it_stays" "5|{}" "select next_offset, inbox.known('c', '{f2}') from inbox.position"
    gives "a_new_owner_begins_there_and_has_the_witness" "5|5|-7" "select * from inbox.claim('c', 't', 0, 'you')"
    refuses "the_old_one_may_not_move_it" "another owner" finish_as me '{f3}' 6
    gives "and_stores_no_id" "{}" "select inbox.known('c', '{f3}')"
    refuses "a_transaction_that_the_library_did_not_begin_is_told" "has ended the transaction" finish_as you '{f3}' 6 other
    # The new owner waits for the moment of the old one's end, and has what that stored.
    talk old
    tell old "begin; do \$\$ begin perform set_config('inbox.transaction', 'you', true); perform inbox.finish('c', 'you', '{f4}', '{t}', '{0}', '{9}', '{9}', '{-7}', 1); end \$\$; select 'done';"
    wait_until 10 said old "done" || not_ok "the_old_owner_is_at_its_end" "$(<"$work/old.out")"
    talk new
    tell new "select 'at ' || next_offset from inbox.claim('c', 't', 0, 'she');"
    wait_until 10 waits new || not_ok "a_claim_waits_for_an_end" "$(<"$work/new.out")"
    tell old "commit;"
    wait_until 10 said new "at 9" && ok "a_claim_has_what_the_old_owner_committed" || not_ok "a_claim_has_what_the_old_owner_committed" "$(<"$work/new.out")"
    hush old
    hush new
}

# fails_as OWNER_AND_NEXT_OFFSET VALUES: of begun_by, attempts, last_failed_at; how many are failing then
fails_as() { q "begin; insert into inbox.position (consumer, topic, kafka_partition, owner, next_offset) values ('f', 't', 0, $1);
    insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, begun_by, attempts, last_failed_at)
        values ('f', 't', 0, 5, 'e', $2); select count(*) from inbox.failing; rollback"; }
test_failing() {
    equal "what_failed_is_failing" 1 "$(fails_as "'me', 5" "null, 1, now()")"
    equal "in_its_next_call_too" 1 "$(fails_as "'me', null" "'me', 2, now()")"
    equal "and_what_was_called_before_without_a_known_end" 1 "$(fails_as "'me', 5" "'me', 2, null")"
    equal "and_what_ended_its_process" 1 "$(fails_as "'me', 5" "'gone', 1, null")"
    equal "and_has_left_the_partition_to_nobody" 1 "$(fails_as "null, 5" "'gone', 1, null")"
    equal "what_is_called_with_care_is_not" 0 "$(fails_as "'me', 5" "'me', 1, null")"
    equal "nor_what_returned_and_was_repeated" 0 "$(fails_as "'me', 5" "null, 1, null")"
    equal "nor_what_is_below_the_position" 0 "$(fails_as "'me', 6" "null, 3, now()")"
    q "insert into inbox.consumer (name) values ('c'), ('f'); insert into inbox.position (consumer, topic, kafka_partition) values ('f', 't', 0);
       insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, attempts, last_failed_at, first_begun_at)
           select 'f', 't', 0, n, n, n, now(), timestamp '2026-01-01' + n * interval '1 day' from generate_series(2, 4) n"
    gives "progress_counts_what_fails" "c|0||t
f|3|2026-01-03|f" "select consumer, failing, oldest_failing_at::date, last_applied_at is not null from inbox.progress order by 1"
    q "delete from inbox.attempt; delete from inbox.consumer; delete from inbox.position where consumer = 'f'"
}

may() { as=$1; works "$1 may $2" q "$3"; as=; }
may_not() { as=$1; refuses "$1 may not $2" "denied" q "$3"; as=; }
test_roles() {
    works "roles" apply "$roles"
    works "roles_again" apply "$roles"
    gives "owner_owns_everything" "inbox_owner" "select string_agg(distinct o::regrole::text, ',') from (
        select relowner from pg_class where relnamespace = 'inbox'::regnamespace
        union select proowner from pg_proc where pronamespace = 'inbox'::regnamespace) x (o)"
    may inbox_consumer "accept" "select inbox.accept('c', 'role')"
    may inbox_consumer "claim" "select inbox.claim('c', 't', 1, 'r')"
    may inbox_consumer "finish" "select set_config('inbox.transaction', 'r', false), inbox.finish('c', 'r', '{r1}', '{t}', '{1}', '{7}', '{NULL}', '{NULL}', 1)"
    q "$free"
    as=inbox_consumer
    gives "inbox_consumer turns the ring" "turned" "select outcome from inbox.turn()"
    as=
    may inbox_consumer "bury" "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, reason) values ('c', 't', 0, 1, 'd', 'rejected')"
    may_not inbox_consumer "forget ids" "delete from inbox.seen"
    may inbox_operator "look" "select * from inbox.dead_letter; select * from inbox.failing; select * from inbox.progress"
    may inbox_operator "send a dead letter back" "update inbox.dead set state = 'retry', changed_at = now() where event_id = 'd'"
    may inbox_operator "discard it" "update inbox.dead set state = 'discarded', discard_reason = 'x', changed_at = now() where event_id = 'd'"
    may_not inbox_operator "read contents" "select payload from inbox.dead"
    may inbox_operator "forget who called it" "update inbox.dead set called_by = case when state = 'retry' then called_by end where event_id = 'd'"
    may_not inbox_operator "change contents" "update inbox.dead set payload = ''"
    may_not inbox_operator "delete a dead letter" "delete from inbox.dead"
    may_not inbox_operator "accept" "select inbox.accept('c', 'm')"
    q "update inbox.dead set state = 'dead'"
    may inbox_monitor "look" "select * from inbox.dead_letter; select * from inbox.failing; select * from inbox.progress"
    may_not inbox_monitor "read contents" "select payload from inbox.dead"
    may_not inbox_monitor "send a dead letter back" "update inbox.dead set state = 'retry'"
    may_not inbox_monitor "accept" "select inbox.accept('c', 'm')"
}

gone() { [[ -z $(q "select 1 from pg_stat_activity where application_name = 'inbox c'") ]]; }
objects() { q "select count(*), (select count(*) from inbox.dead) from pg_depend where refobjid = 'inbox'::regnamespace" 2>&1; }

test_down() {
    local before way
    refuses "down_counts_dead_letters" "1 dead letter would be lost" apply "$down"
    before=$(objects)
    for way in '' '-1 -v ON_ERROR_ROLLBACK=on'; do
        # shellcheck disable=SC2086 # words
        apply_regardless "$down" $way >/dev/null || true
        equal "refused_down${way:+_with_savepoints}_changes_nothing_where_psql_goes_on" "$before" "$(objects)"
    done
    q "update inbox.dead set state = 'discarded'; alter role current_user set lock_timeout = '2s'"
    refuses "down_outside_a_transaction_is_refused" "must run in one transaction" run -f "$down"
    refuses "roles_outside_a_transaction_are_refused" "must run in one transaction" run -f "$roles"
    q "alter role current_user reset lock_timeout"
    refuses "down_counts_sessions_and_owners" 'consumers are at work, nothing was changed: "c" (partitions of r, she)' apply "$down"
    refuses "down_says_what_to_do_with_a_killed_one" '*has its partitions: UPDATE inbox.position SET owner = NULL;' apply "$down"
    q "update inbox.position set owner = null"
    q "insert into inbox.consumer (name) values ('c')"
    talk consumer
    tell consumer "set application_name = 'inbox c'; select 'is here';"
    wait_until 10 said consumer 'is here' || not_ok "a_consumer_is_connected" "$(<"$work/consumer.out")"
    refuses "down_sees_one_without_a_partition" 'consumers are at work, nothing was changed: "c" (session [0-9]*)' apply "$down"
    hush consumer
    wait_until 10 gone || not_ok "the_consumer_ends"
    works "down_without_them" apply "$down"
    gives "down_leaves_nothing" "" "select to_regnamespace('inbox')"
    works "up_after_down" apply "$up"
    works "beside_an_outbox" apply "$root/sql/001_outbox.up.sql"
    works "the_outbox_goes_without_it" apply "$root/sql/001_outbox.down.sql"
    gives "and_the_inbox_stays" "inbox" "select to_regnamespace('inbox')"
    works "roles_after_down_and_up" apply "$roles"
    works "undo_of_the_roles" undo "$roles"
    gives "undo_leaves_no_role" "" "select rolname from pg_roles where rolname ~ '^inbox_'"
}

base=$("$pg" start "$work/pg")
test_install
test_accept
test_turn
test_turn_race
test_finish
test_failing
test_roles
test_down
exit "$bad"
