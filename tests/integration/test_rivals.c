/* test_rivals.c - two relays at one lease, and a person at a row in front of another.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/sources.h"

static PGconn *db, *person;
static struct source *one, *two;

static struct source *open_source(const char *owner)
{
    struct source_config cfg = sources_config();

    cfg.owner = owner;
    return sources_new(&cfg);
}

/* The next event of this type; what else is told on the way is of no interest here. */
static struct source_event wait_for(struct source *s, enum source_event_type type)
{
    struct source_event e;

    do
        sources_next(s, &e, type);
    while (e.type != type);
    return e;
}

static bool gets_the_lease(struct source *s)
{
    source_acquire(s, now());
    return wait_for(s, SOURCE_LEASE).ours;
}

static bool keeps_the_lease(struct source *s)
{
    source_renew(s, now(), 0);
    return wait_for(s, SOURCE_LEASE).ours;
}

/* What one that stands by is told of the lease. */
static struct source_lease look(struct source *s)
{
    source_acquire(s, now());
    struct source_event e = wait_for(s, SOURCE_LEASE);
    ck_assert(!e.ours);
    return e.lease;
}

static const char *owner(void)
{
    return rig_scalar(db, "select coalesce(owner, 'nobody') from outbox.relay");
}

static void begin(void)
{
    rig_quiet();
    db = rig_connect();
    person = rig_connect();
    sources_anew(db);
    one = open_source("one");
    two = open_source("two");
    (void)wait_for(one, SOURCE_UP);
    (void)wait_for(two, SOURCE_UP);
}

static void end(void)
{
    source_free(one);
    source_free(two);
    PQfinish(db);
    PQfinish(person);
}

START_TEST(a_standby_is_told_whose_the_lease_is)
{
    ck_assert(gets_the_lease(one));
    rig_exec(db, "update outbox.relay set renewed_at = clock_timestamp() - interval '1 hour', "
                 "lease_expires_at = clock_timestamp() + interval '2 hours'");
    struct source_lease lease = look(two);
    ck_assert_str_eq(lease.owner, "one");
    ck_assert_int_ge(lease.silent_ms, 3600 * 1000);
    ck_assert_int_lt(lease.silent_ms, 2 * 3600 * 1000);
    ck_assert_int_gt(lease.left_ms, 3600 * 1000);
    ck_assert_int_le(lease.left_ms, 2 * 3600 * 1000);
    rig_exec(db, "update outbox.relay set renewed_at = null");
    lease = look(two);
    ck_assert_str_eq(lease.owner, "one");
    ck_assert_int_lt(lease.silent_ms, 0);
    rig_exec(db, "update outbox.relay set epoch = epoch + 1"); /* told to the one that had it */
    source_renew(one, now(), 0);
    struct source_event e = wait_for(one, SOURCE_LEASE);
    ck_assert(!e.ours);
    ck_assert_ptr_null(e.lease.owner);
}
END_TEST

START_TEST(lease_is_of_one_until_it_ends)
{
    ck_assert(gets_the_lease(one));
    ck_assert(!gets_the_lease(two));
    ck_assert_str_eq(owner(), "one");
    ck_assert(keeps_the_lease(one));
    ck_assert(!gets_the_lease(two));
    rig_exec(db, "update outbox.relay set lease_expires_at = clock_timestamp() - interval '1 ms'");
    ck_assert(gets_the_lease(two));
    ck_assert(!keeps_the_lease(one));
    ck_assert(!gets_the_lease(one));
    ck_assert_str_eq(owner(), "two");
}
END_TEST

START_TEST(lease_that_is_given_back_is_free_at_once)
{
    ck_assert(gets_the_lease(one));
    source_resign(one, now(), 0);
    (void)wait_for(one, SOURCE_RESIGNED);
    ck_assert_str_eq(owner(), "nobody");
    ck_assert(gets_the_lease(two));
    source_resign(one, now(), 0); /* of an epoch that is over: nobody else's lease ends with it */
    (void)wait_for(one, SOURCE_RESIGNED);
    ck_assert_str_eq(owner(), "two");
    ck_assert(keeps_the_lease(two));
}
END_TEST

static bool leaves_something(struct source *s)
{
    source_resign(s, now(), 0);
    return wait_for(s, SOURCE_RESIGNED).left;
}

/* Of a relay that publishes once; what it cannot be told may be there. */
START_TEST(who_gives_the_lease_back_is_told_whether_events_are_held)
{
    struct source_config cfg = sources_config();

    cfg.once = true;
    source_free(one);
    one = sources_new(&cfg);
    (void)wait_for(one, SOURCE_UP);
    ck_assert(gets_the_lease(one));
    ck_assert(!leaves_something(one));
    ck_assert(gets_the_lease(one));
    rig_exec(db, "begin; lock table outbox.relay in share mode");
    ck_assert(leaves_something(one)); /* after the lock timeout of its session */
    rig_exec(db, "rollback");
    ck_assert(gets_the_lease(one));
    rig_exec(db, "update outbox.relay set epoch = epoch + 1, owner = 'two'");
    ck_assert(leaves_something(one));
    ck_assert_str_eq(owner(), "two");
}
END_TEST

START_TEST(each_lease_has_an_epoch_of_its_own)
{
    ck_assert(gets_the_lease(one));
    ck_assert_int_eq(rig_scalar_i64(db, "select epoch from outbox.relay"), 1);
    ck_assert(gets_the_lease(one)); /* after a crash the name is the same */
    ck_assert_int_eq(rig_scalar_i64(db, "select epoch from outbox.relay"), 2);
    ck_assert(keeps_the_lease(one));
    ck_assert_int_eq(rig_scalar_i64(db, "select epoch from outbox.relay"), 2);
}
END_TEST

/* What stood still before a lead is not its fault; but a relay that dies over and over begins none by that. */
START_TEST(lead_has_a_beginning)
{
    ck_assert(gets_the_lease(one));
    rig_exec(db, "update outbox.relay set leading_since = leading_since - interval '20 s'");
    ck_assert(rig_scalar_i64(db, "select count(*) from outbox.relay r join pg_stat_activity a on a.pid = r.pid where a.datname = "
                                 "current_database() and r.leading_since < clock_timestamp() - interval '20 s'") == 1);
    ck_assert(keeps_the_lease(one));
    rig_exec(db, "update outbox.relay set lease_expires_at = clock_timestamp() - interval '1 ms'");
    ck_assert(gets_the_lease(two)); /* there was nothing to do for the one before */
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.relay where leading_since < renewed_at - interval '20 s'"), 0);
    rig_exec(db, "update outbox.relay set leading_since = leading_since - interval '20 s';"
                 "insert into outbox.event (topic, type) values ('t', 'x');"
                 "insert into outbox.event (topic, type, available_at) values ('t', 'x', now() + interval '1 h')");
    ck_assert(gets_the_lease(two)); /* this came behind the last renewal */
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.relay where leading_since < renewed_at - interval '20 s'"), 0);
    rig_exec(db, "update outbox.relay set leading_since = leading_since - interval '20 s'");
    ck_assert(gets_the_lease(two)); /* and this waits since then */
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.relay where leading_since < renewed_at - interval '20 s'"), 1);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, state, attempts, next_attempt_at) select id, bucket, topic, 'retrying', 1, "
                 "now() - interval '1 min' from outbox.event");
    ck_assert(gets_the_lease(two)); /* and so it does when it is held, and due */
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.relay where leading_since < renewed_at - interval '20 s'"), 1);
    rig_exec(db, "insert into outbox.sent (bucket, id) values (0, 1)");
    ck_assert(gets_the_lease(two)); /* which has marked something */
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.relay where leading_since < renewed_at - interval '20 s'"), 0);
    rig_exec(db, "update outbox.relay set leading_since = leading_since - interval '20 s'; truncate outbox.sent");
    source_resign(two, now(), 0);
    (void)wait_for(two, SOURCE_RESIGNED);
    ck_assert(gets_the_lease(one)); /* started anew by a person */
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.relay where leading_since < renewed_at - interval '20 s'"), 0);
    rig_exec(db, "update outbox.relay set leading_since = leading_since - interval '1 h', renewed_at = renewed_at - interval '1 h',"
                 " lease_expires_at = lease_expires_at - interval '1 h'");
    ck_assert(gets_the_lease(two)); /* after a long absence of all */
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.relay where leading_since < renewed_at - interval '20 s'"), 0);
}
END_TEST

/* How often the log says so: each line that it keeps, as often as it was said. */
static uint32_t times_said(const char *what)
{
    static struct log_line line[LOG_RECENT];
    uint32_t n = 0;

    for (size_t i = log_recent(line, LOG_RECENT); i-- > 0;)
        n += strstr(line[i].text, what) != NULL ? line[i].times : 0;
    return n;
}

/* It is tried again four times a second, and said again after ten. */
START_TEST(lease_that_cannot_be_written_is_said_with_a_remedy_and_not_each_time)
{
    uint64_t start_ms = now();

    ck_assert(gets_the_lease(one));
    rig_exec(db, "alter table outbox.relay rename to relay_gone");
    for (uint64_t ms = 0; ms < 10000; ms += 250) {
        source_renew(one, start_ms + ms, 0);
        (void)wait_for(one, SOURCE_LEASE_FAILED);
    }
    ck_assert_uint_eq(times_said("the lease cannot be written sqlstate=42P01"), 1);
    ck_assert_uint_eq(times_said("remedy=\"the schema outbox is not there as this relay found it"), 1);
    source_acquire(one, start_ms + 10000);
    (void)wait_for(one, SOURCE_LEASE_FAILED);
    ck_assert_uint_eq(times_said("the lease cannot be written sqlstate=42P01"), 2);
    rig_exec(db, "alter table outbox.relay_gone rename to relay");
    ck_assert(keeps_the_lease(one));
    rig_exec(db, "alter table outbox.relay rename to relay_gone");
    source_renew(one, start_ms + 10250, 0);
    (void)wait_for(one, SOURCE_LEASE_FAILED);
    rig_exec(db, "alter table outbox.relay_gone rename to relay");
    ck_assert_uint_eq(times_said("the lease cannot be written sqlstate=42P01"), 3);
}
END_TEST

/* default_transaction_read_only reaches a session that runs; what mends it, ALTER ROLE or another server, does not. */
START_TEST(link_that_may_not_write_is_given_up)
{
    ck_assert(gets_the_lease(one));
    rig_exec(db, "create function pg_temp.refuse() returns trigger language plpgsql as $$ begin raise 'cannot execute UPDATE in "
                 "a read-only transaction' using errcode = '25006'; end $$;"
                 "create trigger refuse before update on outbox.relay execute function pg_temp.refuse()");
    source_renew(one, now(), 0);
    struct source_event e = wait_for(one, SOURCE_DOWN);
    ck_assert_str_eq(e.why, "the database cannot be written: cannot execute UPDATE in a read-only transaction");
    ck_assert_ptr_nonnull(strstr(e.remedy, "set default_transaction_read_only to off for the role of the dsn"));
    (void)wait_for(one, SOURCE_UP);
    for (int i = 0; i < 6; i++) { /* and so does who stands by */
        source_acquire(one, now());
        (void)wait_for(one, SOURCE_DOWN);
        if (i == 5) /* with longer and longer pauses, although each link comes up */
            ck_assert_uint_gt(source_next_attempt(one), now() + 3 * sources_config().retry_base_ms);
        (void)wait_for(one, SOURCE_UP);
    }
    source_resign(one, now(), 0); /* who ends has no use for another one */
    (void)wait_for(one, SOURCE_RESIGNED);
    rig_exec(db, "drop trigger refuse on outbox.relay");
    ck_assert(gets_the_lease(one));
}
END_TEST

/* Two processes that were given one name. A restarted one takes its own lease back at once; but not what
 * another took from it, and so on for ever. */
START_TEST(lease_that_a_namesake_took_is_not_taken_back)
{
    struct source *namesake = open_source("one");

    (void)wait_for(namesake, SOURCE_UP);
    ck_assert(gets_the_lease(one));
    ck_assert(gets_the_lease(namesake)); /* one might have died */
    ck_assert(!keeps_the_lease(one));
    ck_assert(!gets_the_lease(one));
    ck_assert(keeps_the_lease(namesake));
    ck_assert(gets_the_lease(namesake)); /* its link was lost, say */
    rig_exec(db, "update outbox.relay set lease_expires_at = clock_timestamp() - interval '1 ms'");
    ck_assert(gets_the_lease(one));
    ck_assert(!keeps_the_lease(namesake));
    source_free(namesake);
}
END_TEST

/* Set back by a day, or a standby was promoted whose clock is behind: the lease of a dead relay would last
 * a day more. */
START_TEST(lease_does_not_outlast_a_clock_that_is_set_back)
{
    ck_assert(gets_the_lease(one));
    rig_exec(db, "update outbox.relay set renewed_at = renewed_at + interval '50 s',"
                 " lease_expires_at = lease_expires_at + interval '50 s'");
    ck_assert(!gets_the_lease(two)); /* that soon passes by itself */
    rig_exec(db, "update outbox.relay set renewed_at = renewed_at + interval '1 day',"
                 " lease_expires_at = lease_expires_at + interval '1 day'");
    ck_assert(gets_the_lease(two));
    ck_assert(!keeps_the_lease(one));
}
END_TEST

enum { N_RESTORED = 50000 };

/* As a dump of another cluster brings them, more than are looked at in one piece: two transactions that this cluster
 * has not reached, ids that do not go with them (row `top` has the highest), and behind them an event of this cluster. */
static void restore_rows(int top)
{
    rig_execf(db, "insert into outbox.event (xid, id, bucket, topic, type) overriding system value"
                  " select (1000000000000 + n / 30000)::text::xid8, 1 + (n + %d) %% %d, n %% 8, 't', 'x'"
                  " from generate_series(0, %d) n; alter table outbox.event alter id restart with %d;"
                  "insert into outbox.event (topic, type) values ('t', 'x')",
              N_RESTORED - 1 - top, N_RESTORED, N_RESTORED - 1, N_RESTORED + 1);
}

/* However long all of it takes: no piece takes long, and with each the lease is renewed and the core told so. */
START_TEST(floor_is_looked_for_in_pieces_and_the_lease_kept_meanwhile)
{
    static const int top[] = { 5000, 25000, 49000 };
    struct source_event e;
    int n_pieces = 0;

    restore_rows(top[_i]);
    source_acquire(one, now());
    do {
        sources_next(one, &e, SOURCE_LEASE);
        if (e.type == SOURCE_HELD_KEYS && n_pieces++ == 0)
            rig_exec(db, "update outbox.relay set lease_expires_at = '-infinity'");
    } while (e.type != SOURCE_LEASE);
    ck_assert(e.ours);
    ck_assert_int_eq(n_pieces, 3);
    ck_assert_str_eq(rig_scalar(db, "select lease_expires_at > clock_timestamp() from outbox.relay"), "t");
    ck_assert_int_eq(rig_scalar_i64(db, "select floor_id from outbox.relay"), N_RESTORED);
}
END_TEST

START_TEST(lease_that_is_lost_while_the_floor_is_looked_for_does_not_begin)
{
    restore_rows(0);
    source_acquire(one, now());
    (void)wait_for(one, SOURCE_HELD_KEYS);
    rig_exec(db, "update outbox.relay set epoch = epoch + 1, owner = 'two'");
    ck_assert(!wait_for(one, SOURCE_LEASE).ours);
}
END_TEST

static void isolation(const char *level)
{
    rig_execf(db, "alter database \"%s\" set default_transaction_isolation = '%s'", PQdb(db), level);
}

/* Its reads would count in the conflicts for which PostgreSQL ends transactions of the application. */
START_TEST(relay_takes_no_part_in_serializable_transactions)
{
    isolation("serializable");
    struct source *s = open_source("three");
    (void)wait_for(s, SOURCE_UP);
    isolation("read committed");
    rig_exec(person, "begin isolation level serializable; select count(*) from outbox.event");
    ck_assert(gets_the_lease(s));
    source_read(s, now(), 10, 1 << 20, 0); /* what it read would be remembered while person's lasts */
    (void)wait_for(s, SOURCE_PAGE);
    ck_assert_int_eq(rig_scalar_i64(db, "select count(distinct pid) from pg_locks where mode = 'SIReadLock'"),
                     1);
    rig_exec(person, "rollback");
    source_free(s);
}
END_TEST

static void hold(const struct row *row, enum hold_state state)
{
    const struct source_hold h = { .row = row, .state = state, .attempts = 1, .delay_ms = SOURCES_TTL_MS };

    source_hold(one, now(), &h, 1);
    (void)wait_for(one, SOURCE_HELD);
}

/* A person takes the row in front away and has looked for those behind it; then one is put there;
 * then the person commits. Nobody else would wake it. */
START_TEST(row_behind_one_that_is_being_taken_away_is_due)
{
    ck_assert(gets_the_lease(one));
    rig_exec(db, "insert into outbox.event (topic, type, key)"
                 " values ('t', 'x', 'a'), ('t', 'x', 'a')");
    source_read(one, now(), 10, 1 << 20, 0);
    struct source_event page = wait_for(one, SOURCE_PAGE);
    ck_assert_uint_eq(page.n_rows, 2);
    struct row *row[2] = { page.rows[0], page.rows[1] };
    hold(row[0], _i == 0 ? HOLD_RETRYING : HOLD_DEAD);
    rig_exec(person, "begin; update outbox.held set state = 'discarded', next_attempt_at = null"
                     " where id = 1;"
                     " update outbox.held set next_attempt_at = now() where state = 'blocked'");
    hold(row[1], HOLD_BLOCKED);
    rig_exec(person, "commit");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(state || coalesce(' ' ||"
                                    " (next_attempt_at <= now())::text, ''), ', ' order by id)"
                                    " from outbox.held"),
                     "discarded, blocked true");
    free(row[0]);
    free(row[1]);
}
END_TEST

Suite *suite_rivals(void);

Suite *suite_rivals(void)
{
    Suite *s = suite_create("rivals");
    TCase *tc = tcase_create("rivals");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, a_standby_is_told_whose_the_lease_is);
    tcase_add_test(tc, lease_is_of_one_until_it_ends);
    tcase_add_test(tc, lease_that_is_given_back_is_free_at_once);
    tcase_add_test(tc, who_gives_the_lease_back_is_told_whether_events_are_held);
    tcase_add_test(tc, lease_that_cannot_be_written_is_said_with_a_remedy_and_not_each_time);
    tcase_add_test(tc, lead_has_a_beginning);
    tcase_add_test(tc, each_lease_has_an_epoch_of_its_own);
    tcase_add_test(tc, link_that_may_not_write_is_given_up);
    tcase_add_test(tc, lease_that_a_namesake_took_is_not_taken_back);
    tcase_add_test(tc, lease_does_not_outlast_a_clock_that_is_set_back);
    tcase_add_loop_test(tc, floor_is_looked_for_in_pieces_and_the_lease_kept_meanwhile, 0, 3);
    tcase_add_test(tc, lease_that_is_lost_while_the_floor_is_looked_for_does_not_begin);
    tcase_add_test(tc, relay_takes_no_part_in_serializable_transactions);
    tcase_add_loop_test(tc, row_behind_one_that_is_being_taken_away_is_due, 0, 2);
    suite_add_tcase(s, tc);
    return s;
}
