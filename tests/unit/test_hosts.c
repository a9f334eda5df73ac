/* test_hosts.c - the lists that libpq is given, from the hosts of a dsn and the addresses that were found. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/hosts.h"

static struct hosts hosts;
static struct host_lists lists;

static void parse(const char *name, const char *address, const char *port)
{
    ck_assert_int_eq(outbox__hosts_parse(&hosts, name, address, port), 0);
}

static void found(size_t i, const char *addresses)
{
    ck_assert(hosts.host[i].sought);
    free(hosts.host[i].address);
    hosts.host[i].address = strdup(addresses);
    ck_assert_ptr_nonnull(hosts.host[i].address);
}

static void expect(const char *name, const char *address, const char *port)
{
    ck_assert_int_eq(outbox__hosts_lists(&hosts, &lists), 0);
    ck_assert_str_eq(lists.name, name);
    ck_assert_str_eq(lists.address, address);
    ck_assert_str_eq(lists.port, port);
}

static void end(void)
{
    outbox__hosts_deinit(&hosts);
    outbox__host_lists_deinit(&lists);
}

START_TEST(only_names_are_sought)
{
    parse("/tmp,@abstract,,127.0.0.1,::1,db,given,localhost", ",,,,,,10.0.0.9,", "5432");
    ck_assert_uint_eq(hosts.n, 8);
    for (size_t i = 0; i < hosts.n; i++)
        ck_assert_msg(hosts.host[i].sought == (i == 5 || i == 7), "%s", hosts.host[i].name);
    ck_assert(outbox__hosts_sought(&hosts));
    ck_assert(outbox__hosts_known(&hosts));
}
END_TEST

START_TEST(nothing_is_sought_without_names)
{
    static const struct {
        const char *name, *address;
    } dsn[] = { { NULL, NULL }, { "", "" }, { "/tmp", NULL }, { NULL, "10.0.0.1,10.0.0.2" }, { "db", "10.0.0.1" } };

    for (size_t i = 0; i < sizeof dsn / sizeof dsn[0]; i++) {
        parse(dsn[i].name, dsn[i].address, "5432");
        ck_assert_msg(!outbox__hosts_sought(&hosts), "dsn %zu", i);
        outbox__hosts_deinit(&hosts);
    }
}
END_TEST

START_TEST(lists_that_do_not_match_are_left_to_libpq)
{
    parse("a,b", "10.0.0.1", "5432");
    ck_assert_uint_eq(hosts.n, 0);
    parse("a,b,c", NULL, "1,2");
    ck_assert_uint_eq(hosts.n, 0);
    ck_assert(!outbox__hosts_sought(&hosts));
}
END_TEST

START_TEST(each_address_has_its_name_and_port)
{
    parse("a,/tmp,b", NULL, "1,2,");
    found(0, "10.0.0.1,::1");
    found(2, "10.0.0.2");
    expect("a,a,/tmp,b", "10.0.0.1,::1,,10.0.0.2", "1,1,2,");
}
END_TEST

START_TEST(one_port_is_that_of_all)
{
    parse("a,b", ",10.0.0.7", "6432");
    found(0, "10.0.0.1,10.0.0.2,fe80::1%eth0");
    expect("a,a,a,b", "10.0.0.1,10.0.0.2,fe80::1%eth0,10.0.0.7", "6432,6432,6432,6432");
}
END_TEST

START_TEST(host_without_an_address_is_left_out_and_named)
{
    char text[200];

    parse("a,b,c", NULL, "1,2,3");
    ck_assert(!outbox__hosts_known(&hosts));
    ck_assert_int_eq(outbox__hosts_lists(&hosts, &lists), 1);
    found(1, "10.0.0.1");
    ck_assert(outbox__hosts_known(&hosts));
    hosts.host[0].why = "Name or service not known";
    hosts.host[2].why = "no answer in time";
    expect("b", "10.0.0.1", "2");
    outbox__hosts_missing(&hosts, text, sizeof text);
    ck_assert_str_eq(text, "could not translate host name \"a\" to address: Name or service not known; "
                           "could not translate host name \"c\" to address: no answer in time");
    outbox__hosts_missing(&hosts, text, 20);
    ck_assert_str_eq(text, "could not translate");
}
END_TEST

static void expect_left(const char *name, const char *address, const char *port)
{
    ck_assert_str_eq(lists.name, name);
    ck_assert_str_eq(lists.address, address);
    ck_assert_str_eq(lists.port, port);
}

/* As libpq has the one that it was at. */
START_TEST(one_of_several_leaves_the_lists)
{
    parse("a,/tmp,,a", ",,10.0.0.4,", ",2,3,4");
    found(0, "10.0.0.1,10.0.0.11");
    found(3, "10.0.0.1");
    expect("a,a,/tmp,,a", "10.0.0.1,10.0.0.11,,10.0.0.4,10.0.0.1", ",,2,3,4");
    ck_assert(outbox__host_lists_drop(&lists, "a", "10.0.0.11", "5432"));
    expect_left("a,/tmp,,a", "10.0.0.1,,10.0.0.4,10.0.0.1", ",2,3,4");
    ck_assert(outbox__host_lists_drop(&lists, "/tmp", "", "2"));
    expect_left("a,,a", "10.0.0.1,10.0.0.4,10.0.0.1", ",3,4");
    ck_assert(outbox__host_lists_drop(&lists, "10.0.0.4", "10.0.0.4", "3"));
    ck_assert(outbox__host_lists_drop(&lists, "b", "10.0.0.9", "9")); /* none of them: the first */
    expect_left("a", "10.0.0.1", "4");
    ck_assert(!outbox__host_lists_drop(&lists, "a", "10.0.0.1", "4"));
    expect_left("a", "10.0.0.1", "4");
}
END_TEST

START_TEST(words_about_an_address_get_its_name)
{
    char text[200] = "connection to server at \"10.0.0.1\", port 1 failed: x; at \"10.0.0.12\": y; at \"::1\": z";

    parse("db,10.0.0.12", NULL, "1");
    found(0, "10.0.0.1,::1");
    outbox__hosts_name(&hosts, text, sizeof text);
    ck_assert_str_eq(text, "connection to server at \"db\" (10.0.0.1), port 1 failed: x; at \"10.0.0.12\": y; "
                           "at \"db\" (::1): z");
    strcpy(text, "at \"10.0.0.1\"!");
    outbox__hosts_name(&hosts, text, strlen(text) + 2); /* no room */
    ck_assert_str_eq(text, "at \"10.0.0.1\"!");
}
END_TEST

START_TEST(first_port_that_libpq_refuses_is_found)
{
    static const char *const good[] = { "", ",", "1", "65535", "5432,,5433", " 5432 ,+1", "00005432" };
    static const struct {
        const char *ports;
        size_t at;
    } bad[] = { { "0", 0 }, { "65536", 0 }, { "-1", 0 }, { "port", 0 }, { "5432x", 0 }, { " ", 0 }, { "1 2", 0 },
                { "99999999999999999999", 0 }, { "5432,99999,x", 5 }, { ",,http", 2 }, { "1, ,2", 2 } };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(outbox__hosts_bad_port(good[i]) == NULL, "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(outbox__hosts_bad_port(bad[i].ports) == bad[i].ports + bad[i].at, "%s", bad[i].ports);
}
END_TEST

Suite *suite_hosts(void);

Suite *suite_hosts(void)
{
    Suite *s = suite_create("hosts");
    TCase *tc = tcase_create("lists");

    tcase_add_checked_fixture(tc, NULL, end);
    tcase_add_test(tc, only_names_are_sought);
    tcase_add_test(tc, nothing_is_sought_without_names);
    tcase_add_test(tc, lists_that_do_not_match_are_left_to_libpq);
    tcase_add_test(tc, each_address_has_its_name_and_port);
    tcase_add_test(tc, one_port_is_that_of_all);
    tcase_add_test(tc, host_without_an_address_is_left_out_and_named);
    tcase_add_test(tc, one_of_several_leaves_the_lists);
    tcase_add_test(tc, words_about_an_address_get_its_name);
    tcase_add_test(tc, first_port_that_libpq_refuses_is_found);
    suite_add_tcase(s, tc);
    return s;
}
