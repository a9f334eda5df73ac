/* test_old_header.c - a program that was built with an older header runs with the library of today.
 *
 * outbox_first.h is include/outbox.h as it was before outbox_event and outbox_error grew. It must
 * not change: it stands for the programs that were built with it.
 */
#include "tests/integration/outbox_first.h"

#include <check.h>
#include <string.h>

#include "tests/rig/rig.h"

/* What came later, as such a program would find it in the library. */
int outbox_append_many(PGconn *conn, const outbox_event *events, size_t n, outbox_error *err);

static PGconn *conn;

static void setup(void)
{
    conn = rig_connect();
}

static void teardown(void)
{
    PQfinish(conn);
}

/* An event with something behind it that is not the event's: a library that reads further than
 * struct_size takes it for a field. */
struct surrounded {
    outbox_event event;
    unsigned char behind[64];
};

static void surround(struct surrounded *s)
{
    const outbox_event event = OUTBOX_EVENT_INIT;

    memset(s, 0xff, sizeof *s);
    s->event = event;
    s->event.topic = "old";
    s->event.type = "test";
    s->event.payload = "payload";
    s->event.payload_len = 7;
}

START_TEST(old_header_is_the_one_it_was)
{
    if (sizeof(void *) != 8)
        return;
    ck_assert_uint_eq(sizeof(outbox_event), 144);
    ck_assert_uint_eq(sizeof(outbox_error), 532);
}
END_TEST

START_TEST(old_program_appends)
{
    struct surrounded s;
    outbox_error err = OUTBOX_ERROR_INIT;

    surround(&s);
    rig_exec(conn, "begin");
    ck_assert_msg(outbox_append(conn, &s.event, &err) == OUTBOX_OK, "%s", err.message);
    rig_exec(conn, "commit");
    ck_assert_str_eq(rig_scalar(conn, "select type || ' ' || convert_from(payload, 'UTF8') || ' ' ||"
                                      " coalesce(headers::text, 'none') from outbox.event"
                                      " where topic = 'old'"),
                     "test payload none");
    ck_assert_int_eq(outbox_check_schema(conn, &err), OUTBOX_OK);
}
END_TEST

START_TEST(old_program_finds_errors_in_its_struct_and_nothing_behind)
{
    struct {
        outbox_error err;
        unsigned char behind[64];
    } e;
    const outbox_error init = OUTBOX_ERROR_INIT;
    struct surrounded s;

    memset(&e, 0x5a, sizeof e);
    e.err = init;
    surround(&s);
    s.event.topic = "not a topic";
    rig_exec(conn, "begin");
    ck_assert_int_eq(outbox_append(conn, &s.event, &e.err), OUTBOX_EINVAL);
    ck_assert_int_eq(e.err.code, OUTBOX_EINVAL);
    ck_assert_ptr_nonnull(strstr(e.err.message, "topic \"not a topic\""));
    for (size_t i = 0; i < sizeof e.behind; i++)
        ck_assert_int_eq(e.behind[i], 0x5a);
}
END_TEST

/* The events of an array stand as far from each other as the program's header says. */
START_TEST(old_program_passes_arrays_of_its_own_stride)
{
    outbox_event events[3];
    outbox_error err = OUTBOX_ERROR_INIT;
    struct surrounded s;
    static const char *const payloads[] = { "a", "b", "c" };

    surround(&s);
    for (size_t i = 0; i < 3; i++) {
        events[i] = s.event;
        events[i].topic = "old.many";
        events[i].payload = payloads[i];
        events[i].payload_len = 1;
    }
    rig_exec(conn, "begin");
    ck_assert_msg(outbox_append_many(conn, events, 3, &err) == OUTBOX_OK, "%s", err.message);
    rig_exec(conn, "commit");
    ck_assert_str_eq(rig_scalar(conn, "select string_agg(convert_from(payload, 'UTF8'), '' order by"
                                      " id) from outbox.event where topic = 'old.many'"),
                     "abc");
    events[2].topic = "";
    rig_exec(conn, "begin");
    ck_assert_int_eq(outbox_append_many(conn, events, 3, &err), OUTBOX_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "events[2]: topic is empty"));
}
END_TEST

Suite *suite_old_header(void);
Suite *suite_old_header(void)
{
    Suite *suite = suite_create("old_header");
    TCase *tcase = tcase_create("old_header");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, old_header_is_the_one_it_was);
    tcase_add_test(tcase, old_program_appends);
    tcase_add_test(tcase, old_program_finds_errors_in_its_struct_and_nothing_behind);
    tcase_add_test(tcase, old_program_passes_arrays_of_its_own_stride);
    suite_add_tcase(suite, tcase);
    return suite;
}
