/* test_mask.c - no password of a connection string gets through; everything else does. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "relay/mask.h"

Suite *suite_mask(void);

#define N(array) (sizeof(array) / sizeof(array)[0])
#define M "********"

static const struct {
    const char *dsn, *masked;
    bool found;
} dsns[] = {
    { "", "", false },
    { "dbname=shop", "dbname=shop", false },
    { " host = x\tport=5432 ", " host = x\tport=5432 ", false },
    { "host=x password=hunter2 port=1", "host=x password=" M " port=1", true },
    { "password=hunter2", "password=" M, true },
    { "password = hunter2 host=x", "password = " M " host=x", true },
    { "password=", "password=" M, true },
    { "password='hunter2 hunter2' host=x", "password=" M " host=x", true },
    { "password='hun\\'ter2 x' host=x", "password=" M " host=x", true },
    { "password=hun\\ ter2 host=x", "password=" M " host=x", true },
    { "password='hunter2\\\\' host=x", "password=" M " host=x", true },
    { "user='password=x' host='a b'", "user='password=x' host='a b'", false },
    { "sslpassword=hunter2 oauth_client_secret=hunter2 scram_client_key=hunter2",
      "sslpassword=" M " oauth_client_secret=" M " scram_client_key=" M, true },
    { "passfile=/p sslkey=/k", "passfile=/p sslkey=/k", false },
    { "host=x 'hunter2", "host=x " M, false },
    { "host='x password=hunter2", M, false },
    { "host=x hunter2", "host=x " M, false },
    { "hunter2", M, false },
    { "=hunter2", M, false },
    { "mysql://u:hunter2@h/db", M, false },
    { "postgresql://", "postgresql://", false },
    { "postgresql:///shop", "postgresql:///shop", false },
    { "postgresql://db:5432/shop", "postgresql://db:5432/shop", false },
    { "postgresql://[::1]:5432/shop", "postgresql://[::1]:5432/shop", false },
    { "postgresql://app@db:5432,db2:5433/shop?sslmode=require",
      "postgresql://app@db:5432,db2:5433/shop?sslmode=require", false },
    { "postgresql://app:hunter2@db:5432/shop", "postgresql://app:" M "@db:5432/shop", true },
    { "postgres://app:hunter2@db", "postgres://app:" M "@db", true },
    { "postgresql://app:@db", "postgresql://app:" M "@db", true },
    { "postgresql://:hunter2@db", "postgresql://:" M "@db", true },
    { "postgresql://app:hun:ter2@db/x", "postgresql://app:" M "@db/x", true },
    { "postgresql://app:hun@ter2@db/x", "postgresql://app:" M "@db/x", true },
    { "postgresql://app:hun/ter2@db/x", "postgresql://app:" M "@db/x", true },
    { "postgresql://app:hun?ter2@db/x", "postgresql://app:" M "@db/x", true },
    { "postgresql://app:hun#ter2@[::1]:5432/x", "postgresql://app:" M "@[::1]:5432/x", true },
    { "postgresql://db:5432/shop?user=me@realm", "postgresql://db:5432/shop?user=me@realm", false },
    { "postgresql:///shop?password=hunter2", "postgresql:///shop?password=" M, true },
    { "postgresql:///shop?host=x&password=hunter2&user=y&sslpassword=hunter2",
      "postgresql:///shop?host=x&password=" M "&user=y&sslpassword=" M, true },
    { "postgresql:///shop?p%61ss%77ord=hunter2&%", "postgresql:///shop?p%61ss%77ord=" M "&%",
      true },
    { "postgresql://a:hunter2@h/shop?password=hunter2&host=z@y",
      "postgresql://a:" M "@h/shop?password=" M "&host=z@y", true },
    { "postgresql://?password=/@hunter2&sslpassword=",
      "postgresql://?password=" M "&sslpassword=" M, true },
    { "postgresql://[?a=]?password=hunter2&a=b", "postgresql://[?a=]?password=" M "&a=b", true },
    { "postgresql:///shop?password=hun?ter2", "postgresql:///shop?password=" M, true },
    { "postgresql:///shop?a=b?c=d", "postgresql:///shop?a=b?c=d", false },
    { "postgresql:///shop?password", "postgresql:///shop?password", false },
    { "postgresql:///shop?", "postgresql:///shop?", false },
    { "postgresql:///shop?password=&a=b", "postgresql:///shop?password=" M "&a=b", true },
};

START_TEST(passwords_in_a_dsn_are_masked)
{
    bool found = !dsns[_i].found;
    char *masked = mask_dsn(dsns[_i].dsn, &found);

    ck_assert_str_eq(masked, dsns[_i].masked);
    ck_assert_int_eq(found, dsns[_i].found);
    ck_assert_ptr_null(strstr(masked, "hunter2"));
    free(masked);
    free(mask_dsn(dsns[_i].dsn, NULL));
}
END_TEST

/* Any cut of any of them: none may show the secret's text or run off. */
START_TEST(a_dsn_cut_anywhere_shows_no_password)
{
    static const char secret[] = "password=hunter2 host='a b' sslpassword='hunter2 x' user=u";
    static const char uri[] = "postgresql://app:hunter2@db:1/shop?password=hunter2&sslmode=x";
    char cut[sizeof uri + sizeof secret];

    for (size_t from = 0; from < 10; from++)
        for (size_t len = 0; len < sizeof secret - from; len++) {
            memcpy(cut, secret + from, len);
            cut[len] = '\0';
            char *masked = mask_dsn(cut, NULL);
            ck_assert_msg(from > 0 || strstr(masked, "hunter2") == NULL, "%s", masked);
            free(masked);
        }
    for (size_t len = strlen("postgresql://app:hunter2@"); len < sizeof uri; len++) {
        memcpy(cut, uri, len);
        cut[len] = '\0';
        char *masked = mask_dsn(cut, NULL);
        ck_assert_msg(strstr(masked, "hunter2") == NULL, "%s", masked);
        free(masked);
    }
}
END_TEST

START_TEST(the_mask_does_not_tell_the_length)
{
    char *one = mask_dsn("password=x", NULL);
    char *other = mask_dsn("password=xxxxxxxxxxxxxxxxxxxx", NULL);

    ck_assert_str_eq(one, other);
    free(one);
    free(other);
}
END_TEST

/* Nothing but masks: the copy grows as much as it can. */
START_TEST(many_passwords_fit)
{
    enum { N_PASSWORDS = 1000 };
    char dsn[N_PASSWORDS * 10 + 1] = "";

    for (size_t i = 0; i < N_PASSWORDS; i++)
        memcpy(dsn + i * 10, "password= ", 11);
    char *masked = mask_dsn(dsn, NULL);
    ck_assert_ptr_nonnull(masked);
    free(masked);
}
END_TEST

static const struct {
    const char *property;
    bool secret;
} properties[] = {
    { "sasl.password", true },        { "ssl.key.password", true },
    { "ssl.keystore.password", true }, { "ssl.key.pem", true },
    { "ssl.key.x", true },            { "sasl.oauthbearer.client.secret", true },
    { "sasl.jaas.config", true },     { "bootstrap.servers", false },
    { "sasl.username", false },       { "ssl.key.location", false },
    { "ssl.keystore.location", false }, { "ssl.certificate.pem", false },
    { "ssl.ca.pem", false },          { "", false },
};

START_TEST(secret_properties_are_known)
{
    for (size_t i = 0; i < N(properties); i++)
        ck_assert_msg(mask_is_secret(properties[i].property) == properties[i].secret, "%s",
                      properties[i].property);
}
END_TEST

static const struct {
    const char *property, *value;
    bool shown;
} values[] = {
    { "sasl.password", "hunter2", false },
    { "sasl.oauthbearer.assertion.private.key.passphrase", "hunter2", false },
    { "bootstrap.servers", "a:9092,plaintext://b:9092/x", true },
    { "bootstrap.servers", "user:hunter2@a:9092", false },
    { "metadata.broker.list", "b:9092,SASL_SSL://user:hunter2@a:9092", false },
    { "sasl.oauthbearer.token.endpoint.url", "https://idp/token", true },
    { "sasl.oauthbearer.token.endpoint.url", "https://user:hunter2@idp/token", false },
    { "sasl.username", "me@example.com", true },
    { "sasl.kerberos.principal", "relay/host@REALM", true },
    { "client.id", "", true },
};

START_TEST(values_with_a_login_are_not_shown)
{
    const char *shown = mask_property(values[_i].property, values[_i].value);

    ck_assert_str_eq(shown, values[_i].shown ? values[_i].value : M);
    ck_assert_ptr_null(mask_property(values[_i].property, NULL));
}
END_TEST

Suite *suite_mask(void)
{
    Suite *suite = suite_create("mask");
    TCase *tc = tcase_create("mask");

    tcase_add_loop_test(tc, passwords_in_a_dsn_are_masked, 0, (int)N(dsns));
    tcase_add_loop_test(tc, values_with_a_login_are_not_shown, 0, (int)N(values));
    tcase_add_test(tc, a_dsn_cut_anywhere_shows_no_password);
    tcase_add_test(tc, the_mask_does_not_tell_the_length);
    tcase_add_test(tc, many_passwords_fit);
    tcase_add_test(tc, secret_properties_are_known);
    suite_add_tcase(suite, tc);
    return suite;
}
