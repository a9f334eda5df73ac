/* test_sink_properties.c - what the guarantees rest on is set on the producer, whatever the user
 * sets. librdkafka itself says what a producer was made with, in its log (debug=conf). No broker is
 * needed.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "relay/log.h"
#include "relay/sink/sink.h"
#include "tests/rig/rig.h"

static struct sink *sink;
static const char *said; /* so far */

static void on_report(void *arg, const struct sink_report *r)
{
    (void)arg, (void)r;
}

static void on_fatal(void *arg, enum lane lane)
{
    (void)arg, (void)lane;
}

static void begin(void)
{
    rig_stderr_keep();
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_LOGFMT);
}

static void end(void)
{
    sink_free(sink);
    sink = NULL;
    rig_stderr_release();
}

/* What the producer says of itself once it has been made with these properties beside our own. */
static void open_with(const struct sink_property *property, size_t n)
{
    const struct sink_config cfg = {
        .properties = property,
        .n_properties = n,
        .max_rows = 4,
        .max_bytes = 1 << 20,
        .on_report = on_report,
        .on_fatal = on_fatal,
    };
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;
    char err[256];

    ck_assert_msg(sink_new(&cfg, &sink, err, sizeof err) == 0, "%s", err);
    do {
        sink_poll(sink);
        said = rig_stderr();
        ck_assert_msg(rig_now_ms() < end_ms, "timed out: it does not say what it was made with");
    } while (strstr(said, "message.timeout.ms = ") == NULL);
}

static void expect(const char *property, const char *value)
{
    char line[128];

    (void)snprintf(line, sizeof line, " %s = %s", property, value);
    const char *at = strstr(said, line);
    ck_assert_msg(at != NULL && strchr("\n\" ", at[strlen(line)]) != NULL, "no%s in\n%s", line,
                  said);
}

START_TEST(producer_is_made_as_the_guarantees_need_it)
{
    const struct sink_property property[] = {
        { "bootstrap.servers", "127.0.0.1:1" }, { "debug", "conf" },
        { "acks", "1" }, { "enable.idempotence", "false" }, { "enable.gapless.guarantee", "false" },
        { "message.timeout.ms", "1000" },
    };

    open_with(property, sizeof property / sizeof property[0]);
    expect("enable.idempotence", "true");
    expect("enable.gapless.guarantee", "true");
    expect("request.required.acks", "-1");
    expect("message.timeout.ms", "0");
}
END_TEST

START_TEST(keys_go_where_java_clients_send_them)
{
    const struct sink_property property[] = {
        { "bootstrap.servers", "127.0.0.1:1" }, { "debug", "conf" }
    };

    open_with(property, 2);
    expect("partitioner", "murmur2_random");
}
END_TEST

Suite *suite_sink_properties(void);

Suite *suite_sink_properties(void)
{
    Suite *s = suite_create("sink_properties");
    TCase *tc = tcase_create("properties");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, producer_is_made_as_the_guarantees_need_it);
    tcase_add_test(tc, keys_go_where_java_clients_send_them);
    suite_add_tcase(s, tc);
    return s;
}
