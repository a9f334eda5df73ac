/* test_doctor.c - what the doctor makes of facts about PostgreSQL and the relays, where the fact itself is hard to
 * come by: clocks, old transactions, leads that ended, a disk that fills.
 */
#include "tests/unit/doctor_findings.h"

static void fact(enum operate_fact_kind kind, const char *name, const char *detail, double number, const char *mend)
{
    doctor_fact(&f, &(struct operate_fact){ kind, name, detail, number, mend });
}

/* The server's reading was taken between our two. */
START_TEST(clocks_agree_within_a_second)
{
    doctor_clock(&f, 1000, 1000.9, 1000.1);
    doctor_clock(&f, 1000, 1000.5, 1001);
    doctor_clock(&f, 1000, 999.1, 1001);
    ck_assert_uint_eq(findings_count(&f, FINDING_OK), 3);
    doctor_clock(&f, 1000, 1003, 1001);
    ck_assert(found(FINDING_WARN, "2.0 s ahead of"));
    doctor_clock(&f, 1000, 940, 1001);
    ck_assert(found(FINDING_WARN, "1 min behind"));
}
END_TEST

START_TEST(facts_that_take_long_to_come_about)
{
    fact(FACT_OLD, "billing", "4711", 3600, "");
    ck_assert(found(FINDING_WARN, "pid 4711 (billing) has been in a transaction for 1 h"));
    fact(FACT_SLOT, "slot_a", "active", 0, "");
    ck_assert(found(FINDING_WARN, "old rows that it may need are not cleaned"));
    fact(FACT_SERVER, "12.9", "", 120009, "");
    ck_assert(found(FINDING_FAIL, "PostgreSQL 12.9 is too old"));
    fact(FACT_SERVER, "15.1", "standby", 150001, "");
    ck_assert(found(FINDING_FAIL, "is a standby"));
    fact(FACT_SETTING, "fsync", "off", 0, "");
    ck_assert(found(FINDING_WARN, "fsync is off"));
    fact(FACT_ASYNC_COMMIT, "role shop", "", 0, "");
    ck_assert(found(FINDING_WARN, "synchronous_commit is off for role shop: a crash"));
    fact(FACT_ASYNC_COMMIT, "role relay", "own", 0, "");
    ck_assert(found(FINDING_WARN, "synchronous_commit is off for role relay, the one of this dsn: a crash of the server may lose what a relay"));
    fact(FACT_SEQUENCE, "", "", -1, "");
    ck_assert(found(FINDING_WARN, "may not be seen by this role"));
    fact(FACT_SEQUENCE, "INCREMENT 2, CYCLE", "7", 0, "");
    ck_assert(found(FINDING_FAIL, "has INCREMENT 2, CYCLE: ids do not follow"));
    ck_assert(!found(FINDING_OK, "is not behind"));
    fact(FACT_SEQUENCE, "", "100", 50, "");
    ck_assert(found(FINDING_FAIL, "stands 50 below the highest id"));
}
END_TEST

START_TEST(nobody_leads_and_since_when)
{
    fact(FACT_LEAD, "relay-a", "leads", 2, "");
    ck_assert(found(FINDING_OK, "relay-a leads, and was last heard of 2.0 s ago"));
    fact(FACT_LEAD, "", "never", 0, "");
    ck_assert(found(FINDING_WARN, "no relay has ever worked here"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
    fact(FACT_LEAD, "relay-a", "ended", 180, "");
    ck_assert(found(FINDING_FAIL, "nobody leads: relay-a was last heard of 3 min ago, its lease has ended"));
    fact(FACT_LEAD, "", "resigned", 60, "");
    ck_assert(found(FINDING_FAIL, "nobody leads: the last relay stopped cleanly 1 min ago"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_UNAVAILABLE);
    fact(FACT_LEAD, "", "missing", 0, "insert x");
    ck_assert(found(FINDING_FAIL, "outbox.relay has no row 'default': no relay can lead"));
    ck_assert_ptr_nonnull(strstr(f.list[f.n - 1].remedy, "`insert x`; then start the relay again"));
    fact(FACT_LEAD, "", "hidden", 0, "insert x");
    ck_assert(found(FINDING_FAIL, "row-level security hides the row 'default' of outbox.relay"));
    ck_assert_ptr_nonnull(strstr(f.list[f.n - 1].remedy, "BYPASSRLS"));
    doctor_lead_nowhere(&f);
    ck_assert(found(FINDING_FAIL, "nobody leads: no relay can work on this server"));
    fact(FACT_DEAD, "", "2026-01-02 03:04:05 UTC", 1200, "");
    ck_assert(found(FINDING_WARN, "dead rows: 1200, the oldest since 2026-01-02 03:04:05 UTC"));
}
END_TEST

static const struct verdict_blocker nobody = { .age_s = -1 };

START_TEST(events_that_stand_still)
{
    struct operate_lead lead = { .owner = "relay-a", .left_s = 240, .since_mark_s = -1, .oldest_s = -1, .leading_s = -1 };

    doctor_flow(&f, &lead, &nobody);
    ck_assert(found(FINDING_OK, "nothing waits to be taken up"));
    lead.oldest_s = 3;
    doctor_flow(&f, &lead, &nobody);
    ck_assert(found(FINDING_OK, "has waited for 3.0 s"));
    lead.oldest_s = 40;
    lead.since_mark_s = 2;
    doctor_flow(&f, &lead, &nobody);
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
    lead.since_mark_s = 35;
    doctor_flow(&f, &lead, &nobody);
    ck_assert(found(FINDING_FAIL, "events do not flow: nothing has moved for 35 s"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_UNAVAILABLE);
    findings_deinit(&f);
    lead.renewed_s = 60;
    doctor_flow(&f, &lead, &nobody);
    ck_assert_uint_eq(f.n, 1);
    ck_assert(found(FINDING_FAIL, "events do not flow: relay-a leads and has been silent for 1 min"));
    findings_deinit(&f);
    lead.oldest_s = -1;
    doctor_flow(&f, &lead, &nobody);
    ck_assert(found(FINDING_WARN, "relay-a leads and has been silent for 1 min"));
    fact(FACT_LEAD, "relay-a", "leads", 60, "");
    ck_assert(found(FINDING_OK, "relay-a has the lease, and was last heard of 1 min ago (see flow)"));
    findings_deinit(&f);
    lead.ended = true; /* the lead says so */
    doctor_flow(&f, &lead, &nobody);
    lead.ended = false;
    lead.owner = NULL;
    doctor_flow(&f, &lead, &nobody);
    ck_assert_uint_eq(f.n, 0);
}
END_TEST

START_TEST(rights_that_are_lacking)
{
    fact(FACT_USAGE, "", "", 1, "GRANT x");
    ck_assert_uint_eq(f.n, 0);
    fact(FACT_RIGHT, "outbox.event: 2 of 9 leaves (event_1, event_3)", "SELECT", 0, "GRANT SELECT ON outbox.event_1, outbox.event_3 TO r");
    ck_assert(found(FINDING_FAIL, "the role lacks SELECT on outbox.event: 2 of 9 leaves (event_1, event_3)"));
    ck_assert_ptr_nonnull(strstr(f.list[0].remedy, "`GRANT SELECT ON outbox.event_1, outbox.event_3 TO r`"));
    findings_deinit(&f);
    fact(FACT_RIGHT, "", "", 0, "GRANT outbox_relay TO grafana");
    ck_assert(found(FINDING_FAIL, "this is not the role of a relay"));
    ck_assert_ptr_nonnull(strstr(f.list[0].remedy, "run it with the settings of the relay; if this is its role: `GRANT outbox_relay TO grafana`"));
    fact(FACT_USAGE, "", "", 0, "GRANT outbox_relay TO grafana");
    ck_assert(found(FINDING_FAIL, "may not use the schema outbox"));
    fact(FACT_USAGE, "", "roles", 0, "GRANT outbox_relay TO grafana");
    ck_assert_ptr_nonnull(strstr(f.list[2].remedy, "if this is its role: apply sql/roles.sql, then `GRANT outbox_relay TO grafana`"));
    fact(FACT_USAGE, "", "roles", 0, "");
    ck_assert_str_eq(f.list[3].remedy, "apply sql/roles.sql, as who applied sql/001_outbox.up.sql or as a superuser");
    fact(FACT_RIGHT, "", "roles", 0, "");
    ck_assert(found(FINDING_FAIL, "outbox_relay, which the role is a member of, lacks most of the rights"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_PERMISSION);
}
END_TEST

/* What was before is not the fault of a relay that has just begun to lead. */
START_TEST(a_lead_has_its_own_time)
{
    struct operate_lead lead = { .owner = "relay-a", .left_s = 9, .since_mark_s = 3600, .oldest_s = 3500, .leading_s = 5 };

    doctor_flow(&f, &lead, &nobody);
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
    lead.leading_s = 31;
    doctor_flow(&f, &lead, &nobody);
    ck_assert(found(FINDING_FAIL, "events do not flow: nothing has moved for 31 s"));
}
END_TEST

START_TEST(who_keeps_marks_out_is_named)
{
    const struct operate_lead lead = { .owner = "relay-a", .left_s = 9, .since_mark_s = 3600, .oldest_s = 3500, .leading_s = 45 };
    const struct verdict_blocker psql = { .pid = 19587, .application = "psql", .age_s = 45, .holds_marks = true };

    doctor_flow(&f, &lead, &psql);
    ck_assert_uint_eq(f.n, 1);
    ck_assert(found(FINDING_FAIL, "events do not flow: nothing has moved for 45 s: outbox.sent, or a leaf of it, is locked against "
                                  "marks (pid 19587, psql, open for 45 s)"));
    ck_assert_ptr_nonnull(strstr(f.list[0].remedy, "`SELECT pg_terminate_backend(19587)`"));
}
END_TEST

static void connect(struct relays *r, bool leads, const char *from, double silent_s)
{
    relays_add(r, &(struct operate_relay){ leads, from, silent_s });
}

START_TEST(relays_that_are_connected)
{
    struct relays r = { .n = 0 };

    doctor_relays(&f, &r, LEASE_COPIED);
    ck_assert_uint_eq(findings_count(&f, FINDING_WARN), 0);
    ck_assert(found(FINDING_OK, "not seen on a standby"));
    findings_deinit(&f);
    doctor_relays(&f, &r, LEASE_HELD);
    ck_assert(found(FINDING_WARN, "no relay is connected"));
    connect(&r, true, "10.0.0.4:41000", 30);
    doctor_relays(&f, &r, LEASE_HELD);
    ck_assert(found(FINDING_OK, "one leads (from 10.0.0.4:41000, silent for 30 s), none stands by"));
    connect(&r, false, "10.0.0.7:58156", 0.4);
    connect(&r, false, NULL, -1);
    doctor_relays(&f, &r, LEASE_HELD);
    ck_assert(found(FINDING_OK, "2 stand by (from 10.0.0.7:58156)"));
    ck_assert_uint_eq(findings_count(&f, FINDING_WARN), 1);
    connect(&r, false, "10.0.0.8:1", 17.2);
    doctor_relays(&f, &r, LEASE_HELD);
    ck_assert(found(FINDING_WARN, "a relay that stands by asks for the lease no more, and could not take over: it is frozen "
                                  "or cut off (from 10.0.0.7:58156; from 10.0.0.8:1, silent for 17 s)"));
    r = (struct relays){ .n = 0 };
    connect(&r, false, "10.0.0.7:58156", 0.4);
    doctor_relays(&f, &r, LEASE_HELD);
    ck_assert(found(FINDING_OK, "1 stands by (from 10.0.0.7:58156); the one that leads is not connected now"));
    for (int i = 1; i < RELAYS_SHOWN; i++)
        connect(&r, false, "10.0.0.7:58156", 0.4);
    connect(&r, false, "10.0.0.8:1", 17.2); /* one more than is shown */
    doctor_relays(&f, &r, LEASE_HELD);
    ck_assert_uint_eq(findings_count(&f, FINDING_WARN), 3);
}
END_TEST

START_TEST(relays_that_do_not_take_the_free_lease)
{
    struct relays r = { .n = 0 };

    connect(&r, true, "10.0.0.6:1", 40);
    connect(&r, false, "10.0.0.7:58156", 17.2);
    relays_nobody_leads(&r);
    doctor_relays(&f, &r, LEASE_OVER);
    ck_assert(found(FINDING_OK, "2 connected (from 10.0.0.6:1, silent for 40 s; from 10.0.0.7:58156, silent for 17 s)"));
    doctor_relays(&f, &r, LEASE_FREE);
    ck_assert(found(FINDING_WARN, "2 relays are connected, the last sign of life 17 s ago (from 10.0.0.7:58156), and none "
                                  "takes the free lease"));
    connect(&r, false, "10.0.0.8:1", 0.3);
    doctor_relays(&f, &r, LEASE_FREE);
    ck_assert(found(FINDING_OK, "3 connected"));
}
END_TEST

START_TEST(disk_that_fills)
{
    struct space s = { .bytes = -1, .overdue.s = -1, .error = "no answer" };

    doctor_space(&f, &s);
    ck_assert_str_eq(f.list[0].text, "what the outbox takes on disk is not known: no answer");
    findings_deinit(&f);
    s = (struct space){ .bytes = (int64_t)3 << 29, .n_parts = 4, .overdue.s = -1,
                        .part = { { "3", 1 << 30, -1 }, { "held", 70 << 20, -1 }, { "2", 32768, -1 }, { "kept", 0, -1 } } };
    doctor_space(&f, &s);
    ck_assert_uint_eq(f.n, 1);
    ck_assert(found(FINDING_OK, "the outbox takes 1.5 GiB: bucket 3 1.0 GiB, held 70 MiB"));
    s.overdue = (struct verdict_overdue){ .s = 90000, .bucket = 3, .why = OBSTACLE_LOCKED, .holder = { .pid = 7, .age_s = 90000 } };
    doctor_space(&f, &s);
    ck_assert(found(FINDING_WARN, "bucket 3 should have been emptied 1 d 1 h ago: it is locked by pid 7, open for 1 d 1 h"));
    doctor_retention(&f, 86400, 3 * 86400000);
    ck_assert(found(FINDING_OK, "by these settings a bucket is emptied when all in it is sent and older than 3 d"));
    doctor_retention(&f, 86400, 0);
    ck_assert(found(FINDING_WARN, "nothing is ever emptied"));
    doctor_retention(&f, -1, 3 * 86400000);
    doctor_retention(&f, 86400, 7 * 86400000 - 1000);
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
    doctor_retention(&f, 86400, 7 * 86400000);
    ck_assert(found(FINDING_FAIL, "no bucket becomes old enough"));
}
END_TEST

START_TEST(transactions_that_hold_back_are_told_with_what_ends_them)
{
    struct operate_blocker b = { .pid = 4711, .application = "psql", .age_s = 59.9, .holds_rows = true };

    doctor_blocker(&f, &b, false);
    ck_assert_uint_eq(f.n, 0);
    b.age_s = 60;
    doctor_blocker(&f, &b, false);
    ck_assert(found(FINDING_WARN, "the transaction of pid 4711 (psql) has been open for 1 min and holds back its events"));
    ck_assert_ptr_nonnull(strstr(f.list[0].remedy, "pg_terminate_backend(4711)"));
    b = (struct operate_blocker){ .prepared = "two", .age_s = 3600 };
    doctor_blocker(&f, &b, false); /* no bucket is to be emptied */
    ck_assert_uint_eq(f.n, 1);
    doctor_blocker(&f, &b, true);
    ck_assert(found(FINDING_WARN, "the prepared transaction \"two\" has been there for 1 h and holds back the emptying of a bucket"));
    ck_assert_ptr_nonnull(strstr(f.list[1].remedy, "ROLLBACK PREPARED"));
}
END_TEST

START_TEST(worst_exit_code_wins)
{
    findings_warn(&f, "a", "b", "c");
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
    findings_fail(&f, EXIT_UNAVAILABLE, "a", "b", "c");
    ck_assert_int_eq(findings_exit_code(&f), EXIT_UNAVAILABLE);
    findings_fail(&f, EXIT_CONFIGURATION, "a", "b", "c");
    findings_fail(&f, EXIT_PERMISSION, "a", "b", "c");
    ck_assert_int_eq(findings_exit_code(&f), EXIT_CONFIGURATION);
}
END_TEST

Suite *suite_doctor(void);

Suite *suite_doctor(void)
{
    Suite *s = suite_create("doctor");
    TCase *tc = tcase_create("findings");

    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_add_test(tc, clocks_agree_within_a_second);
    tcase_add_test(tc, facts_that_take_long_to_come_about);
    tcase_add_test(tc, nobody_leads_and_since_when);
    tcase_add_test(tc, events_that_stand_still);
    tcase_add_test(tc, rights_that_are_lacking);
    tcase_add_test(tc, a_lead_has_its_own_time);
    tcase_add_test(tc, who_keeps_marks_out_is_named);
    tcase_add_test(tc, relays_that_are_connected);
    tcase_add_test(tc, relays_that_do_not_take_the_free_lease);
    tcase_add_test(tc, disk_that_fills);
    tcase_add_test(tc, transactions_that_hold_back_are_told_with_what_ends_them);
    tcase_add_test(tc, worst_exit_code_wins);
    suite_add_tcase(s, tc);
    return s;
}
