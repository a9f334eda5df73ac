/* rig.h - small helpers for tests that talk to a real database, broker or child process.
 *
 * Every helper fails the running libcheck test (ck_abort_msg) with a text that says what happened;
 * none returns an error. The runner tests/check gives each test file its own database.
 * rig_brokers() and rig_dsn() read the environment: OUTBOX_TEST_BROKERS, OUTBOX_TEST_DSN.
 */
#ifndef TESTS_RIG_RIG_H
#define TESTS_RIG_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <check.h>
#include <libpq-fe.h>

/** Conninfo of this test file's database. */
const char *rig_dsn(void);
/** Bootstrap servers of the broker that the runner started. */
const char *rig_brokers(void);
/** Path of the relay binary (OUTBOX_RELAY), of a built tool (OUTBOX_TOOLS/name; static buffer). */
const char *rig_relay(void);
const char *rig_tool(const char *name);

/** A new connection to rig_dsn(); the caller calls PQfinish(). */
PGconn *rig_connect(void);
/** Run one or more statements; any error fails the test. */
void rig_exec(PGconn *conn, const char *sql);
/** As rig_exec(), formatted by printf; the values are pasted: pass only what needs no quotes. */
void rig_execf(PGconn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** The first column of the only row, "" for NULL, copied into a static buffer that is good until
 *  the call after next. No row, or more than one, fails the test. */
const char *rig_scalar(PGconn *conn, const char *sql);
int64_t rig_scalar_i64(PGconn *conn, const char *sql);
/** Run one statement that must fail; returns its SQLSTATE (static buffer). */
const char *rig_sqlstate(PGconn *conn, const char *sql);

/** How long a test waits for what must happen, in ms. It says nothing about speed: that nothing comes is all
 *  that it finds out, and a slow machine must not miss it. A test as a whole has CASE_SECONDS of check_main.c. */
enum { RIG_DEADLINE_MS = 180000 };

/** Milliseconds of CLOCK_MONOTONIC. */
int64_t rig_now_ms(void);
/** Look every 2 ms until the predicate holds; false when the deadline passed without. */
bool rig_wait_until(bool (*predicate)(void *arg), void *arg, int deadline_ms);
/** The same for a query whose only value must become `expected`; else the test fails. */
void rig_wait_scalar(PGconn *conn, const char *sql, const char *expected, int deadline_ms);

/** A child process. out_fd reads what it writes to stdout and stderr, -1 when they go to a file. */
struct rig_child {
    pid_t pid;
    int out_fd;
};
/** Start argv[0] (a path) with the caller's environment, stdout and stderr into log_path, or into
 *  out_fd when log_path is NULL. The child gets SIGKILL when the test process dies. */
struct rig_child rig_spawn(const char *const *argv, const char *log_path);
void rig_kill(const struct rig_child *child, int signal);
/** Wait for its end: exit status, or 128 + signal. A child that does not end fails the test. */
int rig_wait(struct rig_child *child, int deadline_ms);
/** Has it ended? Leaves the status for rig_wait(). */
bool rig_ended(const struct rig_child *child);

/** A new empty directory under TMPDIR or /tmp, removed with its content when the process exits
 *  (static buffer; good until the next call). */
const char *rig_tmpdir(void);

/** From here to rig_stderr_release(), what the process writes to stderr goes to a file of its own. */
void rig_stderr_keep(void);
/** All of it so far, cut to 1 MiB (static buffer; good until the next call). */
const char *rig_stderr(void);
/** How many of its lines have this text. */
unsigned rig_stderr_lines(const char *what);
/** stderr is what it was, and what was kept is gone. Does nothing when nothing is kept. */
void rig_stderr_release(void);

/** A case of the suite whose tests each begin with setup and end with teardown. */
TCase *rig_case(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void));

#endif
