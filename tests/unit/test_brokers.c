/* test_brokers.c - what librdkafka says of brokers that do not answer, in words. */
#include <check.h>
#include <stdio.h>

#include "relay/sink/brokers.h"

static struct brokers b;
static char words[400];

static void setup(void)
{
    b = (struct brokers){ .n = 0 };
}

#define BROKER(name, state, source) "\"" name "\":{\"name\":\"" name "\",\"state\":\"" state "\",\"source\":\"" source "\"}"

START_TEST(a_broker_that_is_connected_and_silent)
{
    brokers_statistics(&b, "{\"brokers\":{" BROKER("10.0.0.5:9092/bootstrap", "APIVERSION_QUERY", "configured") "}}");
    ck_assert_str_eq(brokers_words(&b, 5000, words, sizeof words), "10.0.0.5:9092: connected, and no answer within 5 s");
    brokers_statistics(&b, "{\"brokers\":{" BROKER("10.0.0.5:9092/bootstrap", "CONNECT", "configured") "}}");
    ck_assert_str_eq(brokers_words(&b, 3000, words, sizeof words), "10.0.0.5:9092: no connection within 3 s");
    brokers_statistics(&b, "{\"brokers\":{" BROKER("10.0.0.5:9092/bootstrap", "INIT", "configured") "}}");
    ck_assert_str_eq(brokers_words(&b, 3000, words, sizeof words), "10.0.0.5:9092: not tried yet");
}
END_TEST

START_TEST(how_far_it_went_with_tls_and_sasl)
{
    brokers_statistics(&b, "{\"brokers\":{" BROKER("ssl://a:1/bootstrap", "SSL_HANDSHAKE", "configured") ","
                           BROKER("ssl://b:1/2", "AUTH_REQ", "learned") "}}");
    ck_assert_str_eq(brokers_words(&b, 5000, words, sizeof words),
                     "ssl://a:1: connected, and no answer to the TLS handshake within 5 s; "
                     "ssl://b:1: connected, and no answer to the authentication within 5 s");
}
END_TEST

START_TEST(an_error_says_more_than_a_state)
{
    ck_assert(brokers_error(&b, "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in "
                                "state CONNECT)"));
    brokers_statistics(&b, "{\"brokers\":{" BROKER("127.0.0.1:1/bootstrap", "TRY_CONNECT", "configured") ","
                           BROKER("10.0.0.5:9092/bootstrap", "UP", "configured") "}}");
    ck_assert_str_eq(brokers_words(&b, 5000, words, sizeof words),
                     "127.0.0.1:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused; "
                     "10.0.0.5:9092: connected, and no answer within 5 s");
}
END_TEST

START_TEST(what_names_no_broker_is_left_alone)
{
    ck_assert(!brokers_error(&b, "1/1 brokers are down"));
    ck_assert(!brokers_error(&b, "Failed to acquire SASL OAUTHBEARER token: no/such"));
    brokers_statistics(&b, "{\"brokers\":{" BROKER("GroupCoordinator", "INIT", "logical") "," BROKER(":0/internal", "INIT", "internal")
                           "}}");
    brokers_statistics(&b, "{\"brokers\":");
    brokers_statistics(&b, "[1]");
    brokers_statistics(&b, NULL);
    ck_assert_str_eq(brokers_words(&b, 5000, words, sizeof words), "");
}
END_TEST

START_TEST(there_may_be_more_than_fit)
{
    char text[64], few[40];

    for (int i = 0; i < 2 * BROKERS_MOST; i++) {
        snprintf(text, sizeof text, "10.0.0.%d:9092/bootstrap: no", i);
        ck_assert(brokers_error(&b, text));
    }
    ck_assert_uint_eq(b.n, BROKERS_MOST);
    ck_assert_str_eq(brokers_words(&b, 5000, few, sizeof few), "10.0.0.0:9092: no; 10.0.0.1:9092: no; 1");
}
END_TEST

Suite *suite_brokers(void);

Suite *suite_brokers(void)
{
    Suite *s = suite_create("brokers");
    TCase *tc = tcase_create("words");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, a_broker_that_is_connected_and_silent);
    tcase_add_test(tc, how_far_it_went_with_tls_and_sasl);
    tcase_add_test(tc, an_error_says_more_than_a_state);
    tcase_add_test(tc, what_names_no_broker_is_left_alone);
    tcase_add_test(tc, there_may_be_more_than_fit);
    suite_add_tcase(s, tc);
    return s;
}
