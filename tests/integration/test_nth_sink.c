/* test_nth_sink.c - every n-th call of librdkafka fails, while a sink does all that a sink does.
 *
 * The flow: make the sink; rows to two topics through the main lane, with and without key; rows
 * through the solo lane; a reset of the main lane with rows out; more rows; the end with a row
 * out. It goes on as the core would. Each row that was handed in comes back exactly once and its
 * memory is not touched after that; none goes without its headers; nothing hangs. The other calls
 * are real, on a mock broker. Functions that cannot fail (rd_kafka_conf_new and _dup,
 * rd_kafka_queue_get_main: they abort without memory) are left alone. Needs OUTBOX_TEST_BROKERS.
 * Leaks are left to the sanitizer.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "relay/sink/sink.h"
#include "tests/rig/fake.h"
#include "tests/rig/quiet.h"
#include "tests/rig/rig.h"

enum { MAX_SLOTS = 64, N_HEADERS = 2 };

/* -- librdkafka -------------------------------------------------------------------------------- */

/* What a refusal by rd_kafka_producev may say: of the queue, row, topic, or none. */
static const rd_kafka_resp_err_t refusals[] = {
    RD_KAFKA_RESP_ERR__QUEUE_FULL,    RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
    RD_KAFKA_RESP_ERR__FATAL,         RD_KAFKA_RESP_ERR__INVALID_ARG,
};
enum { N_VARIANTS = sizeof refusals / sizeof refusals[0] };

static bool armed;
static int variant; /* of rd_kafka_producev */
static unsigned fail_at, n_calls;
static const char *failed; /* NULL: none yet */

static bool fails(const char *function)
{
    if (!armed || (variant > 0 && strcmp(function, "rd_kafka_producev") != 0) ||
        ++n_calls != fail_at)
        return false;
    failed = function;
    return true;
}

#define FAKE_NTH(type, function, parameters, arguments, failure)                                   \
    FAKE_WHEN(type, function, parameters, arguments, fails(#function), failure)

static rd_kafka_conf_res_t say(char *err, size_t size)
{
    snprintf(err, size, "it was made to fail");
    return RD_KAFKA_CONF_INVALID;
}

static rd_kafka_topic_t *take_conf(rd_kafka_topic_conf_t *conf)
{
    if (conf != NULL)
        rd_kafka_topic_conf_destroy(conf); /* rd_kafka_topic_new does so */
    return NULL;
}

FAKE_NTH(rd_kafka_conf_res_t, rd_kafka_conf_set,
         (rd_kafka_conf_t * conf, const char *name, const char *value, char *err, size_t size),
         (conf, name, value, err, size), say(err, size))
FAKE_NTH(rd_kafka_conf_res_t, rd_kafka_conf_get,
         (const rd_kafka_conf_t *conf, const char *name, char *to, size_t *size),
         (conf, name, to, size), RD_KAFKA_CONF_UNKNOWN)
FAKE_NTH(rd_kafka_t *, rd_kafka_new,
         (rd_kafka_type_t type, rd_kafka_conf_t *conf, char *err, size_t size), (type, conf, err, size),
         (say(err, size), NULL))
FAKE_NTH(rd_kafka_topic_t *, rd_kafka_topic_new,
         (rd_kafka_t * rk, const char *name, rd_kafka_topic_conf_t *conf), (rk, name, conf),
         take_conf(conf))
FAKE_NTH(rd_kafka_headers_t *, rd_kafka_headers_new, (size_t n), (n), NULL)
FAKE_NTH(rd_kafka_resp_err_t, rd_kafka_header_add,
         (rd_kafka_headers_t * h, const char *name, ssize_t name_len, const void *value, ssize_t len),
         (h, name, name_len, value, len), RD_KAFKA_RESP_ERR__READ_ONLY)
FAKE_NTH(rd_kafka_resp_err_t, rd_kafka_purge, (rd_kafka_t * rk, int flags), (rk, flags),
         RD_KAFKA_RESP_ERR__INVALID_ARG)
FAKE_NTH(rd_kafka_resp_err_t, rd_kafka_set_log_queue, (rd_kafka_t * rk, rd_kafka_queue_t *queue),
         (rk, queue), RD_KAFKA_RESP_ERR__NOT_CONFIGURED)
FAKE_NTH(rd_kafka_event_t *, rd_kafka_queue_poll, (rd_kafka_queue_t * queue, int timeout_ms),
         (queue, timeout_ms), NULL)
FAKE_NTH(int, rd_kafka_event_log,
         (rd_kafka_event_t * event, const char **fac, const char **text, int *level),
         (event, fac, text, level), -1)
FAKE_NTH(int, pipe2, (int fds[2], int flags), (fds, flags), (errno = EMFILE, -1))

/* The arguments of rd_kafka_producev cannot be passed on, but say the same as an array. */
static size_t collect(rd_kafka_vu_t *to, va_list args)
{
    for (size_t n = 0;; n++) {
        rd_kafka_vtype_t type = va_arg(args, rd_kafka_vtype_t);

        to[n].vtype = type;
        switch ((int)type) {
        case RD_KAFKA_VTYPE_END:
            return n;
        case RD_KAFKA_VTYPE_RKT:
            to[n].u.rkt = va_arg(args, rd_kafka_topic_t *);
            break;
        case RD_KAFKA_VTYPE_MSGFLAGS:
            to[n].u.i = va_arg(args, int);
            break;
        case RD_KAFKA_VTYPE_KEY:
        case RD_KAFKA_VTYPE_VALUE:
            to[n].u.mem.ptr = va_arg(args, void *);
            to[n].u.mem.size = va_arg(args, size_t);
            break;
        case RD_KAFKA_VTYPE_TIMESTAMP:
            to[n].u.i64 = va_arg(args, int64_t);
            break;
        case RD_KAFKA_VTYPE_HEADERS:
            to[n].u.headers = va_arg(args, rd_kafka_headers_t *);
            ck_assert_uint_eq(rd_kafka_header_cnt(to[n].u.headers), N_HEADERS); /* or none goes */
            break;
        case RD_KAFKA_VTYPE_OPAQUE:
            to[n].u.ptr = va_arg(args, void *);
            break;
        default:
            ck_abort_msg("rd_kafka_producev gets an argument of type %d: teach it to this test",
                         (int)type);
        }
    }
}

static rd_kafka_resp_err_t producev(rd_kafka_t *rk, va_list args)
{
    rd_kafka_vu_t given[16];
    size_t n = collect(given, args);
    rd_kafka_error_t *error = rd_kafka_produceva(rk, given, n);
    rd_kafka_resp_err_t code =
        error != NULL ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

    if (error != NULL)
        rd_kafka_error_destroy(error);
    return code;
}

FAKE(rd_kafka_resp_err_t, rd_kafka_producev, (rd_kafka_t * rk, ...))
{
    va_list args;

    if (fails("rd_kafka_producev"))
        return refusals[variant];
    va_start(args, rk);
    rd_kafka_resp_err_t code = producev(rk, args);
    va_end(args);
    return code;
}

/* -- the flow ---------------------------------------------------------------------------------- */

static struct sink *sink;
static struct row *row[MAX_SLOTS]; /* out */
static enum lane lane_of[MAX_SLOTS];
static uint32_t n_slots; /* handed in so far: each row gets a slot of its own */
static uint32_t n_out, n_persisted, n_lost;
static int64_t end_ms;

static void expect_in_time(const char *what)
{
    ck_assert_msg(rig_now_ms() < end_ms, "%s failed (variant %d), and the flow hangs: %s",
                  failed != NULL ? failed : "nothing", variant, what);
}

static void on_report(void *arg, const struct sink_report *r)
{
    (void)arg;
    ck_assert_uint_lt(r->slot, n_slots);
    ck_assert_msg(row[r->slot] != NULL, "slot %u came back twice", (unsigned)r->slot);
    ck_assert_int_eq(r->lane, lane_of[r->slot]);
    ck_assert_ptr_nonnull(r->code);
    ck_assert_ptr_nonnull(r->text);
    free(row[r->slot]); /* the sanitizer sees it if librdkafka still looks */
    row[r->slot] = NULL;
    n_out--;
    n_persisted += r->outcome == OUTCOME_PERSISTED;
    n_lost += r->outcome != OUTCOME_PERSISTED;
}

static void on_fatal(void *arg, enum lane lane)
{
    (void)arg, (void)lane;
    ck_abort_msg("no broker said anything fatal");
}

static void wait_a_little(void)
{
    struct pollfd fd = { .fd = sink_fd(sink), .events = POLLIN };

    (void)poll(&fd, 1, 20);
    sink_poll(sink);
}

static struct row *make_row(uint32_t topic, const char *key)
{
    static const char *const topics[] = { "nth.one", "nth.two" };
    struct row *r = calloc(1, sizeof *r + 64);
    char *text = (char *)(r + 1);

    ck_assert_ptr_nonnull(r);
    strcpy(text, "payload");
    *r = (struct row){ .topic = topics[topic], .type = "t", .payload = text, .payload_len = 7,
                       .created_at_us = INT64_C(1767323045123456) };
    if (key != NULL) {
        strcpy(text + 32, key);
        r->key = text + 32;
        r->key_len = strlen(key);
    }
    return r;
}

/* Until it is taken or refused; a refusal is its report. */
static void produce(enum lane lane, uint32_t topic, const char *key)
{
    static const struct header headers[N_HEADERS] = { { "a", "1", 1 }, { "b", "", 0 } };
    uint32_t slot = n_slots++;
    struct sink_record rec = {
        .slot = slot, .topic = topic, .headers = headers, .n_headers = N_HEADERS
    };
    struct sink_report refused;

    ck_assert_uint_lt(slot, MAX_SLOTS);
    rec.row = row[slot] = make_row(topic, key);
    lane_of[slot] = lane;
    n_out++;
    for (;;) {
        while (sink_must_wait(sink, lane, topic, rec.row)) {
            expect_in_time("a row must wait");
            wait_a_little();
        }
        enum sink_take take = sink_produce(sink, lane, &rec, &refused);
        if (take == SINK_TAKEN)
            return;
        if (take == SINK_REFUSED) {
            ck_assert_uint_eq(refused.slot, slot);
            ck_assert_int_eq(refused.outcome, OUTCOME_NOT_PERSISTED);
            on_report(NULL, &refused);
            return;
        }
        expect_in_time("a row is never taken");
        wait_a_little();
    }
}

static void wait_for_all(void)
{
    while (n_out > 0) {
        expect_in_time("rows are out");
        wait_a_little();
    }
}

static int make_sink(void)
{
    const struct sink_property properties[] = { { "bootstrap.servers", rig_brokers() } };
    const struct sink_config cfg = { .properties = properties,
                                     .n_properties = 1,
                                     .max_rows = MAX_SLOTS,
                                     .max_bytes = 1 << 20,
                                     .on_report = on_report,
                                     .on_fatal = on_fatal };
    char why[512] = "";
    int rc = sink_new(&cfg, &sink, why, sizeof why);

    if (rc < 0)
        ck_assert_msg(*why != '\0', "%s failed without a word", failed);
    return rc;
}

static void reset(void)
{
    while (sink_reset(sink, LANE_MAIN) < 0) {
        ck_assert_uint_eq(n_out, 0);
        expect_in_time("there is no new producer");
    }
    ck_assert_uint_eq(n_out, 0);
}

static void run_flow(void)
{
    static const char *const keys[] = { "k", "l", NULL };

    n_slots = n_out = n_persisted = n_lost = 0;
    end_ms = rig_now_ms() + RIG_DEADLINE_MS;
    while (make_sink() < 0)
        ck_assert_ptr_nonnull(failed);
    for (uint32_t i = 0; i < 6; i++)
        produce(LANE_MAIN, i % 2, keys[i % 3]);
    wait_for_all();
    produce(LANE_SOLO, 0, "k");
    produce(LANE_SOLO, 0, NULL);
    wait_for_all();
    produce(LANE_MAIN, 0, "k");
    produce(LANE_MAIN, 1, NULL);
    reset();
    produce(LANE_MAIN, 0, "k");
    wait_for_all();
    ck_assert_msg(failed != NULL || n_lost <= 2, "nothing failed, but %u rows", (unsigned)n_lost);
    produce(LANE_MAIN, 1, NULL);
    sink_free(sink);
    ck_assert_uint_eq(n_out, 0);
    ck_assert_uint_eq(n_persisted + n_lost, n_slots);
}

START_TEST(every_row_comes_back_once_whatever_fails)
{
    unsigned n;

    rig_quiet();
    variant = _i;
    failed = "";
    for (n = 1; failed != NULL; n++) {
        failed = NULL;
        fail_at = n;
        n_calls = 0;
        armed = true;
        run_flow();
        armed = false;
    }
    ck_assert_uint_gt(n, variant == 0 ? 80 : 12);
}
END_TEST

Suite *suite_nth_sink(void);

Suite *suite_nth_sink(void)
{
    Suite *suite = suite_create("nth_sink");
    TCase *tcase = tcase_create("librdkafka");

    tcase_add_loop_test(tcase, every_row_comes_back_once_whatever_fails, 0, N_VARIANTS);
    suite_add_tcase(suite, tcase);
    return suite;
}
