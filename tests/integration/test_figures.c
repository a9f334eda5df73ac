/* test_figures.c - what waits, what is held and what blocks, as source_figures tells it.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied. The source
 * has the rights of a relay.
 */
#include <check.h>
#include <string.h>

#include "relay/source/figures_sql.h"
#include "relay/source/sql.h"
#include "tests/integration/sources.h"

static PGconn *db;
static struct source *src;
static struct source_event last;

static void wait_for(enum source_event_type type)
{
    sources_next(src, &last, type);
    ck_assert_msg(last.type == type, "event %d instead of %d", (int)last.type, (int)type);
}

static const struct figures *figures(void)
{
    sources_wait_aside(src, true);
    source_figures(src, now());
    wait_for(SOURCE_FIGURES);
    ck_assert_ptr_nonnull(last.figures);
    return last.figures;
}

static const struct figures_topic *topic(const struct figures *f, const char *name)
{
    for (uint32_t i = 0; i < f->n_topics; i++)
        if (strcmp(f->topic[i].name, name) == 0)
            return &f->topic[i];
    ck_abort_msg("no topic %s among %u", name, f->n_topics);
}

static void setup(void)
{
    struct source_config cfg = sources_config();

    cfg.owner = "me";
    cfg.aside = true;
    db = rig_connect();
    sources_anew(db);
    src = sources_new(&cfg);
    wait_for(SOURCE_UP);
}

static void teardown(void)
{
    source_free(src);
    PQfinish(db);
}

static void append(const char *name, int n)
{
    rig_execf(db, "insert into outbox.event (topic, type) select '%s', 'x' from generate_series(1, %d)", name, n);
}

START_TEST(nothing_waits)
{
    const struct figures *f = figures();

    ck_assert_int_eq(f->pending, 0);
    ck_assert(f->oldest_s < 0);
    ck_assert_uint_eq(f->n_topics, 0);
    ck_assert_uint_eq(f->n_held, 0);
    ck_assert_uint_eq(f->n_blockers, 0);
    ck_assert(!f->estimated);
}
END_TEST

START_TEST(what_waits_is_counted_by_topic)
{
    append("a", 7);
    append("b", 2);
    rig_exec(db, "insert into outbox.event (topic, type, available_at) values ('b', 'x', now() + interval '1 hour')");
    rig_exec(db, "insert into outbox.event (topic, type, created_at) values ('c', 'x', now() - interval '90 seconds')");
    rig_exec(db, "insert into outbox.sent (bucket, id, sent_at) select bucket, id, now() from outbox.event where id <= 3");
    const struct figures *f = figures();

    ck_assert_int_eq(f->pending, 7);
    ck_assert_int_eq(topic(f, "a")->pending, 4);
    ck_assert_int_eq(topic(f, "b")->pending, 2);
    ck_assert(topic(f, "c")->oldest_s >= 90 && topic(f, "c")->oldest_s < 90 + RIG_DEADLINE_MS / 1000);
    ck_assert(f->oldest_s >= 90);
    ck_assert(topic(f, "a")->oldest_s < 60);
}
END_TEST

/* A transaction that was running when the cursor was saved, and has committed behind it. */
START_TEST(rows_that_commit_late_are_counted)
{
    PGconn *slow = rig_connect();

    rig_exec(slow, "begin; insert into outbox.event (topic, type) values ('late', 'x')");
    append("a", 1);
    rig_exec(db, "update outbox.relay set cursor_id = 2, cursor_snapshot = pg_current_snapshot()");
    ck_assert_int_eq(figures()->pending, 0);
    rig_exec(slow, "commit");
    PQfinish(slow);
    const struct figures *f = figures();
    ck_assert_int_eq(f->pending, 1);
    ck_assert_int_eq(topic(f, "late")->pending, 1);
}
END_TEST

START_TEST(beyond_ten_thousand_it_is_an_estimate)
{
    append("a", 9000);
    append("b", 41000);
    const struct figures *f = figures();

    ck_assert(f->estimated);
    ck_assert_int_eq(f->pending, 50000); /* no id is missing here */
    ck_assert_int_eq(topic(f, "a")->pending + topic(f, "b")->pending, 50000);
}
END_TEST

START_TEST(what_is_held_comes_with_its_reason_dead_ones_first)
{
    append("a", 15);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, state, attempts, first_error_at, error_code, error) "
                 "select id, bucket, topic, case when id = 15 then 'dead' else 'paused' end, 3, "
                 "now() - interval '100 seconds', 'CODE', '<why>' from outbox.event");
    const struct figures *f = figures();

    ck_assert_int_eq(f->pending, 0);
    ck_assert_int_eq(topic(f, "a")->held, 14);
    ck_assert_int_eq(topic(f, "a")->dead, 1);
    ck_assert_int_eq(f->held[2], 14); /* paused */
    ck_assert_int_eq(f->held[4], 1);  /* dead */
    ck_assert_uint_eq(f->n_held, FIGURES_HELD);
    ck_assert_int_eq(f->row[0].id, 15);
    ck_assert_str_eq(f->row[0].state, "dead");
    ck_assert_int_eq(f->row[1].id, 1);
    ck_assert_int_eq(f->row[0].attempts, 3);
    ck_assert_str_eq(f->row[0].code, "CODE");
    ck_assert_str_eq(f->row[0].error, "<why>");
    ck_assert_uint_eq(strlen(f->row[0].event_id), 36);
    ck_assert(f->row[0].since_s >= 100 && f->row[0].next_s < 0);
    ck_assert(f->oldest_s < 0);
    ck_assert(topic(f, "a")->oldest_s >= 0); /* what is held has not arrived either */
}
END_TEST

/* Into outbox.held; `of` says by its tens which topic and key. */
static void hold(int of, const char *state, int seconds)
{
    rig_execf(db, "with e as (insert into outbox.event (topic, type, key, created_at) values ('%s', 'x', '%s', "
                  "now() - interval '%d seconds') returning id, bucket, topic, key) insert into outbox.held "
                  "(id, bucket, topic, key, state) select id, bucket, topic, key, '%s' from e",
              of < 30 ? "a" : "b", of < 20 ? "one" : "two", seconds, state);
}

/* What waits behind a dead row waits for a person; behind one that is tried again it does not, whatever else of its
 * key is dead (on.poison = skip). */
START_TEST(what_waits_behind_a_dead_row_is_told_apart)
{
    hold(10, "dead", 9000);
    hold(11, "blocked", 8000);
    hold(12, "blocked", 7000);
    hold(20, "retrying", 3000);
    hold(21, "blocked", 2000);
    hold(30, "dead", 9000);
    hold(31, "retrying", 1000);
    hold(32, "blocked", 500);
    const struct figures *f = figures();

    ck_assert(topic(f, "a")->behind_s >= 8000 && topic(f, "a")->behind_s < 9000);
    ck_assert(topic(f, "a")->oldest_s >= 3000 && topic(f, "a")->oldest_s < 7000);
    ck_assert_int_eq(topic(f, "a")->held, 4);
    ck_assert_int_eq(topic(f, "a")->dead, 1);
    ck_assert(topic(f, "b")->behind_s < 0);
    ck_assert(topic(f, "b")->oldest_s >= 1000 && topic(f, "b")->oldest_s < 3000);
    rig_exec(db, "with gone as (delete from outbox.held where state = 'retrying' returning bucket, id) "
                 "insert into outbox.sent (bucket, id, sent_at) select bucket, id, now() from gone");
    f = figures(); /* of the second key nothing is dead; of the third something is */
    ck_assert(topic(f, "a")->oldest_s >= 2000 && topic(f, "a")->oldest_s < 3000);
    ck_assert(topic(f, "b")->oldest_s < 0);
    ck_assert(topic(f, "b")->behind_s >= 500 && topic(f, "b")->behind_s < 1000);
}
END_TEST

/* A clock that is wrong makes a key dead at each of its events. Each pair of a dead key and a held row would be twenty
 * million. */
START_TEST(many_dead_keys_cost_no_more_than_what_is_held)
{
    rig_exec(db, "insert into outbox.event (topic, type, key) "
                 "select 'a', 'x', convert_to((i % 1000)::text, 'UTF8') from generate_series(0, 20999) i; "
                 "insert into outbox.held (id, bucket, topic, key, state) "
                 "select id, bucket, topic, key, case when id <= 1000 then 'dead' else 'blocked' end from outbox.event; "
                 "analyze outbox.held");
    double rows = sources_rows_handled(SQL_SESSION SQL_PREPARE_FIGURES, "execute outbox_figures");

    ck_assert_msg(rows > 20000 && rows < 400000, "%.0f rows", rows);
    ck_assert(topic(figures(), "a")->behind_s >= 0);
}
END_TEST

/* Any writer may give this time, and all figures depend on it. */
START_TEST(what_is_held_for_ever_is_shown_like_the_rest)
{
    rig_exec(db, "insert into outbox.event (topic, type, available_at) values ('a', 'x', 'infinity'), ('a', 'x', '-infinity')");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, state, next_attempt_at) "
                 "select id, bucket, topic, 'scheduled', available_at from outbox.event where id = 1");
    const struct figures *f = figures();

    ck_assert_int_eq(topic(f, "a")->held, 1);
    ck_assert_int_eq(f->pending, 1);
    ck_assert_uint_eq(f->n_held, 1);
    ck_assert_str_eq(f->row[0].state, "scheduled");
    ck_assert(f->row[0].next_s < 0);
}
END_TEST

/* Whatever put it there as one that goes as soon as it can: the sweep, or a person. */
START_TEST(oldest_of_a_topic_may_have_no_time)
{
    rig_exec(db, "insert into outbox.event (topic, type, available_at) values ('a', 'x', 'infinity'), ('b', 'x', null)");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'paused' from outbox.event");
    const struct figures *f = figures();

    ck_assert_int_eq(topic(f, "a")->held, 1);
    ck_assert(topic(f, "a")->oldest_s < 0);
    ck_assert(topic(f, "b")->oldest_s >= 0);
    rig_exec(db, "select * from outbox.backlog");
}
END_TEST

START_TEST(many_topics_share_the_last_place)
{
    rig_exec(db, "insert into outbox.event (topic, type) select 't' || n, 'x' from generate_series(1, 150) n; "
                 "insert into outbox.event (topic, type) values ('t7', 'x')");
    const struct figures *f = figures();

    ck_assert_uint_eq(f->n_topics, FIGURES_TOPICS + 1);
    ck_assert_str_eq(f->topic[0].name, "t7");
    ck_assert_str_eq(f->topic[FIGURES_TOPICS].name, "");
    ck_assert_int_eq(f->topic[FIGURES_TOPICS].pending, 50);
    ck_assert_int_eq(f->pending, 151);
}
END_TEST

static bool blocks(void *arg)
{
    const struct figures *f = figures();

    (void)arg;
    return f->n_blockers == 1 && f->blocker[0].holds_rows;
}

START_TEST(an_open_transaction_is_named)
{
    PGconn *slow = rig_connect();

    rig_exec(slow, "set application_name = 'report'; begin; insert into outbox.event (topic, type) values ('a', 'x')");
    ck_assert(rig_wait_until(blocks, NULL, RIG_DEADLINE_MS)); /* not before it is some seconds old */
    ck_assert_int_eq(last.figures->blocker[0].pid, PQbackendPID(slow));
    ck_assert_str_eq(last.figures->blocker[0].application, "report");
    PQfinish(slow);
}
END_TEST

START_TEST(bytes_on_disk_are_of_their_bucket)
{
    int64_t empty[FIGURES_PARTS];

    memcpy(empty, figures()->bytes, sizeof empty);
    for (int i = 0; i < FIGURES_PARTS; i++)
        ck_assert_int_gt(empty[i], 0); /* indexes have a page */
    rig_exec(db, "insert into outbox.event (topic, type, bucket) select 'a', 'x', 5 from generate_series(1, 20000) n; "
                 "insert into outbox.event (topic, type, bucket) select 'a', 'x', -1 from generate_series(1, 10000) n; "
                 "insert into outbox.held (id, bucket, topic, state) select n, 5, 'a', 'paused' from generate_series(1, 30000) n");
    const int64_t *bytes = figures()->bytes;

    for (int i = 0; i < FIGURES_PARTS; i++)
        if (i == 5 || i >= 8)
            ck_assert_int_gt(bytes[i], empty[i] + 1000000);
        else
            ck_assert_int_eq(bytes[i], empty[i]);
    ck_assert_int_gt(bytes[5], bytes[8]);
}
END_TEST

Suite *suite_figures(void);

Suite *suite_figures(void)
{
    Suite *s = suite_create("figures");
    TCase *tc = tcase_create("figures");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nothing_waits);
    tcase_add_test(tc, what_waits_is_counted_by_topic);
    tcase_add_test(tc, rows_that_commit_late_are_counted);
    tcase_add_test(tc, beyond_ten_thousand_it_is_an_estimate);
    tcase_add_test(tc, what_is_held_comes_with_its_reason_dead_ones_first);
    tcase_add_test(tc, what_waits_behind_a_dead_row_is_told_apart);
    tcase_add_test(tc, many_dead_keys_cost_no_more_than_what_is_held);
    tcase_add_test(tc, what_is_held_for_ever_is_shown_like_the_rest);
    tcase_add_test(tc, oldest_of_a_topic_may_have_no_time);
    tcase_add_test(tc, many_topics_share_the_last_place);
    tcase_add_test(tc, an_open_transaction_is_named);
    tcase_add_test(tc, bytes_on_disk_are_of_their_bucket);
    suite_add_tcase(s, tc);
    return s;
}
