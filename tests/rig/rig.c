/* rig.c - see rig.h.
 *
 * Texts are cut to 2000 bytes where they go into a message: libcheck ends the run over 8 KiB.
 */
#include "tests/rig/rig.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SCALAR_SIZE = 65536, STATEMENT_SIZE = 65536, MAX_TMPDIRS = 64 };

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);

    if (value == NULL || *value == '\0')
        ck_abort_msg("%s is not set: start this test through tests/check", name);
    return value;
}

const char *rig_dsn(void)
{
    return from_environment("OUTBOX_TEST_DSN");
}

const char *rig_brokers(void)
{
    return from_environment("OUTBOX_TEST_BROKERS");
}

const char *rig_relay(void)
{
    return from_environment("OUTBOX_RELAY");
}

const char *rig_tool(const char *name)
{
    static char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", from_environment("OUTBOX_TOOLS"), name);

    ck_assert_int_lt(n, (int)sizeof path);
    return path;
}

PGconn *rig_connect(void)
{
    PGconn *conn = PQconnectdb(rig_dsn());

    if (PQstatus(conn) != CONNECTION_OK)
        ck_abort_msg("cannot connect: %s", PQerrorMessage(conn));
    return conn;
}

void rig_exec(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        ck_abort_msg("%.2000s\nin: %.2000s", PQerrorMessage(conn), sql);
    PQclear(result);
}

void rig_execf(PGconn *conn, const char *format, ...)
{
    static char sql[STATEMENT_SIZE];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    ck_assert_int_ge(n, 0);
    ck_assert_int_lt(n, STATEMENT_SIZE);
    rig_exec(conn, sql);
}

const char *rig_scalar(PGconn *conn, const char *sql)
{
    static char buffers[2][SCALAR_SIZE];
    static int turn;
    char *text = buffers[turn = !turn];
    PGresult *result = PQexec(conn, sql);

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        ck_abort_msg("%.2000s\nin: %.2000s", PQerrorMessage(conn), sql);
    if (PQntuples(result) != 1)
        ck_abort_msg("%d rows instead of one\nin: %.2000s", PQntuples(result), sql);
    ck_assert_int_lt(PQgetlength(result, 0, 0), SCALAR_SIZE);
    strcpy(text, PQgetvalue(result, 0, 0));
    PQclear(result);
    return text;
}

int64_t rig_scalar_i64(PGconn *conn, const char *sql)
{
    const char *text = rig_scalar(conn, sql);
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        ck_abort_msg("not a number: \"%.2000s\"\nin: %.2000s", text, sql);
    return value;
}

const char *rig_sqlstate(PGconn *conn, const char *sql)
{
    static char sqlstate[6];
    PGresult *result = PQexec(conn, sql);
    const char *field = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (field == NULL)
        ck_abort_msg("did not fail with an SQLSTATE: %.2000s", sql);
    snprintf(sqlstate, sizeof sqlstate, "%s", field);
    PQclear(result);
    return sqlstate;
}

int64_t rig_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool rig_wait_until(bool (*predicate)(void *arg), void *arg, int deadline_ms)
{
    int64_t began_ms = rig_now_ms();

    while (!predicate(arg)) {
        int64_t waited_ms = rig_now_ms() - began_ms;

        if (waited_ms >= deadline_ms)
            return false;
        /* Other tests want the processor, too. */
        (void)poll(NULL, 0, waited_ms < 20 ? 2 : waited_ms > 200 ? 20 : (int)waited_ms / 10);
    }
    return true;
}

struct expected_scalar {
    PGconn *conn;
    const char *sql;
    const char *value;
};

static bool scalar_is_expected(void *arg)
{
    const struct expected_scalar *expected = arg;

    return strcmp(rig_scalar(expected->conn, expected->sql), expected->value) == 0;
}

void rig_wait_scalar(PGconn *conn, const char *sql, const char *expected, int deadline_ms)
{
    struct expected_scalar wanted = { conn, sql, expected };

    if (!rig_wait_until(scalar_is_expected, &wanted, deadline_ms))
        ck_abort_msg("timed out: after %d ms still \"%.2000s\" instead of \"%.2000s\"\nin: %.2000s",
                     deadline_ms, rig_scalar(conn, sql), expected, sql);
}

/* Signals are blocked when it starts. libcheck's handlers, inherited, would kill the whole test. */
static _Noreturn void run_child(const char *const *argv, int out_fd, pid_t parent)
{
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (getppid() != parent) /* it died before the line above */
        _exit(127);
    if (dup2(out_fd, STDOUT_FILENO) >= 0 && dup2(out_fd, STDERR_FILENO) >= 0)
        execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* The write end of what becomes the child's output; ret_read_fd gets the read end, if any. */
static int open_output(const char *log_path, int *ret_read_fd)
{
    int fds[2];

    *ret_read_fd = -1;
    if (log_path != NULL) {
        fds[1] = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fds[1] < 0)
            ck_abort_msg("cannot write %s: %s", log_path, strerror(errno));
        return fds[1];
    }
    if (pipe2(fds, O_CLOEXEC) != 0)
        ck_abort_msg("pipe: %s", strerror(errno));
    *ret_read_fd = fds[0];
    return fds[1];
}

struct rig_child rig_spawn(const char *const *argv, const char *log_path)
{
    struct rig_child child = { .pid = -1, .out_fd = -1 };
    pid_t parent = getpid();
    sigset_t all;
    sigset_t before;
    int out_fd;

    if (access(argv[0], X_OK) != 0)
        ck_abort_msg("cannot run %s: %s", argv[0], strerror(errno));
    out_fd = open_output(log_path, &child.out_fd);
    sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &before);
    child.pid = fork();
    if (child.pid == 0)
        run_child(argv, out_fd, parent);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (child.pid < 0)
        ck_abort_msg("fork: %s", strerror(errno));
    close(out_fd);
    return child;
}

void rig_kill(const struct rig_child *child, int signal)
{
    ck_assert_int_gt(child->pid, 0);
    if (kill(child->pid, signal) != 0)
        ck_abort_msg("kill %d: %s", (int)child->pid, strerror(errno));
}

bool rig_ended(const struct rig_child *child)
{
    siginfo_t info = { 0 };

    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        ck_abort_msg("waitid %d: %s", (int)child->pid, strerror(errno));
    return info.si_pid == child->pid;
}

static bool child_ended(void *arg)
{
    return rig_ended(arg);
}

int rig_wait(struct rig_child *child, int deadline_ms)
{
    int status;

    if (!rig_wait_until(child_ended, child, deadline_ms)) {
        (void)kill(child->pid, SIGKILL);
        (void)waitpid(child->pid, &status, 0);
        ck_abort_msg("timed out: child %d did not end within %d ms", (int)child->pid, deadline_ms);
    }
    ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
    if (child->out_fd >= 0)
        close(child->out_fd);
    *child = (struct rig_child){ .pid = -1, .out_fd = -1 };
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TCase *rig_case(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void))
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, setup, teardown);
    suite_add_tcase(s, tc);
    return tc;
}

static char tmpdirs[MAX_TMPDIRS][256];
static size_t n_tmpdirs;
static pid_t tmpdirs_owner;

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

/* Only in the process that made them: a forked child that calls exit() must leave them alone. */
static void remove_tmpdirs(void)
{
    if (tmpdirs_owner != getpid())
        return;
    for (size_t i = 0; i < n_tmpdirs; i++)
        (void)nftw(tmpdirs[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *rig_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    char *path;

    if (tmpdirs_owner != getpid()) {
        tmpdirs_owner = getpid();
        n_tmpdirs = 0;
        (void)atexit(remove_tmpdirs);
    }
    ck_assert_uint_lt(n_tmpdirs, MAX_TMPDIRS);
    path = tmpdirs[n_tmpdirs++];
    if (base == NULL || *base == '\0')
        base = "/tmp";
    snprintf(path, sizeof tmpdirs[0], "%s/outbox-test.XXXXXX", base);
    if (mkdtemp(path) == NULL)
        ck_abort_msg("mkdtemp %s: %s", path, strerror(errno));
    return path;
}
