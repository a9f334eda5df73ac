/* test_health.c - liveness, readiness and escaping: what is published, and what becomes of it in an answer. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "relay/http/listen.h"
#include "relay/http/pages.h"

static struct status *s;
static char *text;

/* A leader of which all is well. */
static void setup(void)
{
    s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    s->role = VERDICT_LEADS;
    s->db_up = s->db_was_up = true;
    s->kafka_up = FACT_YES;
    snprintf(s->verdict.text, sizeof s->verdict.text, "Events flow.");
    text = NULL;
}

static void teardown(void)
{
    free(s);
    free(text);
}

static bool ready(uint64_t turned_ms, uint64_t now_ms)
{
    size_t len;

    free(text);
    FILE *out = open_memstream(&text, &len);
    bool is = health_ready(s, turned_ms, now_ms, out);
    fclose(out);
    ck_assert_int_eq(is, health_ready(s, turned_ms, now_ms, NULL));
    ck_assert_int_eq(is, strstr(text, "[-]") == NULL);
    return is;
}

static void expect(bool is, const char *line)
{
    ck_assert_int_eq(ready(1000, 1000), is);
    ck_assert_msg(strstr(text, line) != NULL, "no %s in\n%s", line, text);
}

START_TEST(live_while_the_loop_turns)
{
    ck_assert(health_live(1000, 1000));
    ck_assert(health_live(1000, 1000 + LIVE_MS - 1));
    ck_assert(!health_live(1000, 1000 + LIVE_MS));
    ck_assert(ready(1000, 1000 + LIVE_MS - 1));
    ck_assert(!ready(1000, 1000 + LIVE_MS));
    ck_assert_ptr_nonnull(strstr(text, "[-]loop failed: it has not turned for 30 s\n"));
}
END_TEST

START_TEST(ready_when_all_is_well)
{
    expect(true, "[+]loop ok\n[+]database ok\n[+]schema ok\n[+]leads ok\n[+]progress ok\n[+]kafka ok\nEvents flow.\n");
    s->role = VERDICT_STANDS_BY;
    expect(true, "[+]stands-by ok\n");
}
END_TEST

START_TEST(ready_although_kafka_alone_is_away)
{
    s->kafka_up = FACT_NO;
    expect(true, "[+]kafka does not count: no broker answers");
    s->kafka_up = FACT_UNKNOWN;
    expect(true, "[+]kafka does not count: nothing was heard");
}
END_TEST

START_TEST(ready_although_the_schema_has_changed)
{
    s->schema_ends = 1000;
    expect(true, "[+]schema does not count yet: it is version 1000 now, and this relay ends when it connects next\n");
}
END_TEST

START_TEST(unready_without_a_database)
{
    s->db_up = false;
    expect(false, "[-]database failed: no connection yet\n");
    snprintf(s->db_error, sizeof s->db_error, "wrong password");
    expect(false, "[-]database failed: wrong password\n");
    s->db_was_up = false;
    expect(false, "[-]schema failed: it was not seen yet\n");
}
END_TEST

START_TEST(unready_when_nothing_moves)
{
    s->stuck_s = 35;
    expect(false, "[-]progress failed: rows that could move have not moved for 35 s\n");
}
END_TEST

START_TEST(unready_at_the_beginning_and_at_the_end)
{
    s->role = VERDICT_STARTING;
    expect(false, "[-]role failed: it has not heard yet who leads\n");
    s->role = VERDICT_NOT_KNOWN;
    expect(false, "[-]role failed: it has not heard yet who leads\n");
    s->role = VERDICT_STOPPING;
    expect(false, "[-]role failed: it is stopping\n");
    ck_assert(!health_ready(NULL, 1000, 1000, NULL));
}
END_TEST

static const char *escaped(const char *from)
{
    size_t len;

    free(text);
    FILE *out = open_memstream(&text, &len);
    page_text(out, from);
    fclose(out);
    return text;
}

START_TEST(text_of_others_is_no_markup)
{
    ck_assert_str_eq(escaped("<script>alert(\"1\")</script>"), "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;");
    ck_assert_str_eq(escaped("a&b'c"), "a&amp;b&#39;c");
    ck_assert_str_eq(escaped("\xff\n\xe2\x80\xae\xc3\xa4"), "\\xff\\n\\u{202e}\xc3\xa4");
    ck_assert_str_eq(escaped(NULL), "-");
}
END_TEST

/* Every field that may hold text of others, at its fullest, in page and JSON. */
START_TEST(page_and_json_bear_hostile_text_everywhere)
{
    static const char evil[] = "</span><script>x</script><img src=x onerror='x'>\"\\\xff";
    char *page = NULL, *json = NULL;
    size_t len;

#define EVIL(field) memcpy(field, evil, sizeof field < sizeof evil ? sizeof field - 1 : sizeof evil)
    EVIL(s->owner);
    EVIL(s->verdict.text);
    s->verdict.n_findings = 2;
    EVIL(s->verdict.finding[1].text);
    strcpy(s->verdict.finding[0].remedy, "Do `this`.");
    strcpy(s->verdict.finding[1].remedy, "Do `this`.");
    s->version = "1";
    s->n_topics = 1;
    s->topic[0].paused = true;
    EVIL(s->topic[0].name);
    EVIL(s->topic[0].why);
    s->figures_known = true;
    EVIL(s->leader);
    s->figures.n_held = s->figures.n_blockers = 1;
    EVIL(s->figures.row[0].topic);
    EVIL(s->figures.row[0].state);
    EVIL(s->figures.row[0].event_id);
    EVIL(s->figures.row[0].code);
    EVIL(s->figures.row[0].error);
    EVIL(s->figures.blocker[0].application);
    EVIL(s->figures.blocker[0].user);
    s->n_errors = 1;
    EVIL(s->error[0].text);
    EVIL(s->error[0].component);
#undef EVIL
    FILE *out = open_memstream(&page, &len);
    page_write(s, "nonce", out);
    fclose(out);
    ck_assert_ptr_null(strstr(page, "<script>"));
    ck_assert_ptr_null(strstr(page, "<img"));
    ck_assert_ptr_null(strchr(page, '\xff'));
    ck_assert_ptr_nonnull(strstr(page, "Do <code>this</code>."));
    out = open_memstream(&json, &len);
    json_write(s, out);
    fclose(out);
    ck_assert_int_eq(json[0], '{');
    ck_assert_ptr_nonnull(strstr(json, "\\\\xff"));
    free(page);
    free(json);
}
END_TEST

static void written(void (*write)(const struct status *s, FILE *out), const char *part)
{
    size_t len;

    free(text);
    FILE *out = open_memstream(&text, &len);
    write(s, out);
    fclose(out);
    ck_assert_msg(strstr(text, part) != NULL, "no %s in\n%s", part, text);
}

static void as_page(const struct status *of, FILE *out)
{
    page_write(of, "nonce", out);
}

START_TEST(role_without_a_database_is_not_known)
{
    s->role = VERDICT_NOT_KNOWN;
    s->db_lost_s = -1;
    written(as_page, "asks who leads</span>");
    written(json_write, "\"role\":\"unknown\"");
    written(json_write, "\"db_lost_s\":null");
    s->db_up = false;
    s->db_lost_s = 12;
    written(as_page, "without PostgreSQL for 12 s</span>");
    written(json_write, "\"db_lost_s\":12.0");
}
END_TEST

START_TEST(sentence_ends_once)
{
    s->verdict.n_findings = 3;
    snprintf(s->verdict.finding[1].text, sizeof s->verdict.finding[1].text, "is it there?");
    snprintf(s->verdict.finding[2].text, sizeof s->verdict.finding[2].text, "it is not");
    written(as_page, "<b>Is it there?</b>");
    written(as_page, "<b>It is not.</b>");
}
END_TEST

START_TEST(figures_come_with_their_age)
{
    written(json_write, "\"figures_age_s\":null");
    s->figures_known = true;
    s->figures_age_s = 12;
    written(json_write, "\"figures_age_s\":12.0");
    written(as_page, "what waits, is held or blocks is as of 12 s ago");
}
END_TEST

START_TEST(json_has_what_is_known)
{
    written(json_write, "\"kafka_up\":true");
    s->kafka_up = FACT_NO;
    written(json_write, "\"kafka_up\":false");
    s->kafka_up = FACT_UNKNOWN;
    written(json_write, "\"kafka_up\":null");
    written(json_write, "\"topics\":[],\"held\":null,\"blockers\":null,\"recent_errors\":[],\"samples_5s\":[]}");
    s->figures_known = true;
    written(json_write, "\"held\":[],\"blockers\":[]");
    s->n_topics = s->figures.n_held = s->figures.n_blockers = s->n_samples = 1;
    s->n_errors = 2;
    s->topic[0] = (struct status_topic){ .name = "orders", .rate = 2.5, .pending = 3, .held = -1, .dead = 1, .oldest_s = -1 };
    written(json_write, "\"topics\":[{\"topic\":\"orders\",\"paused\":false,\"why\":null,\"rate\":2.5,\"pending\":3,"
                        "\"held\":null,\"dead\":1,\"oldest_s\":null}]");
    s->figures.row[0] = (struct figures_held){ .id = 7, .event_id = "e", .topic = "orders", .state = "dead", .attempts = 5,
                                               .since_s = 60, .next_s = -1, .code = "C" };
    written(json_write, "\"held\":[{\"id\":7,\"event_id\":\"e\",\"topic\":\"orders\",\"state\":\"dead\",\"attempts\":5,"
                        "\"since_s\":60.0,\"next_s\":null,\"error_code\":\"C\",\"error\":null}]");
    s->figures.blocker[0] = (struct figures_blocker){ .pid = 12, .application = "psql", .age_s = 30, .holds_rows = true };
    written(json_write, "\"blockers\":[{\"pid\":12,\"application\":\"psql\",\"user\":null,\"age_s\":30.0,\"holds_rows\":true,"
                        "\"holds_truncate\":false}]");
    s->error[0] = (struct log_line){ .unix_ms = 1500, .level = LOG_LEVEL_WARN, .component = "relay", .text = "w", .times = 2 };
    s->error[1] = (struct log_line){ .unix_ms = 500, .level = LOG_LEVEL_ERROR, .component = "sink", .text = "e", .times = 1 };
    written(json_write, "\"recent_errors\":[{\"unix_time\":1.5,\"level\":\"warn\",\"component\":\"relay\",\"text\":\"w\","
                        "\"times\":2},{\"unix_time\":0.5,\"level\":\"error\",\"component\":\"sink\",\"text\":\"e\",\"times\":1}]");
    s->sample[0] = (struct status_sample){ .rate = 1, .pending = -1, .latency_s = 0.5f };
    written(json_write, "\"samples_5s\":[[1.0,null,0.5]]");
}
END_TEST

START_TEST(addresses)
{
    static const char *const good[] = { "off", "127.0.0.1:9188", "localhost:0", "[::1]:80", ":9188", "*:65535" };
    static const char *const bad[] = { "", "9188", "localhost", "::1:80", "[]:1", "[::1]", "a:", "a:65536", "a:-1", "a:1x", "a:8.8",
                                       "a b:1", "http://a:1", "OFF", "[a:1", "a]:1" };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(listen_is_valid(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!listen_is_valid(bad[i]), "%s", bad[i]);
}
END_TEST

Suite *suite_health(void);

Suite *suite_health(void)
{
    Suite *suite = suite_create("health");
    TCase *tc = tcase_create("health");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, live_while_the_loop_turns);
    tcase_add_test(tc, ready_when_all_is_well);
    tcase_add_test(tc, ready_although_kafka_alone_is_away);
    tcase_add_test(tc, ready_although_the_schema_has_changed);
    tcase_add_test(tc, unready_without_a_database);
    tcase_add_test(tc, unready_when_nothing_moves);
    tcase_add_test(tc, unready_at_the_beginning_and_at_the_end);
    tcase_add_test(tc, text_of_others_is_no_markup);
    tcase_add_test(tc, page_and_json_bear_hostile_text_everywhere);
    tcase_add_test(tc, role_without_a_database_is_not_known);
    tcase_add_test(tc, sentence_ends_once);
    tcase_add_test(tc, figures_come_with_their_age);
    tcase_add_test(tc, json_has_what_is_known);
    tcase_add_test(tc, addresses);
    suite_add_tcase(suite, tc);
    return suite;
}
