/* lookup.c - see lookup.h. */
#include "lib/shared/lookup.h"

#include <libpq-fe.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* An answer that nobody waited for is good for the next try, not for a link that is lost hours later. */
#define FRESH_MS 60000
/* As soon as there is a host to connect to, the others have so long: libpq may not need them. */
#define GRACE_MS 1000

struct answer {
    char *name;
    char *found; /* "a,b"; NULL: none */
    int rc;      /* of getaddrinfo */
    atomic_bool done; /* from then on nobody writes it */
};

struct lookup_job {
    atomic_uint holders; /* the thread and the loop; the last one frees it */
    atomic_bool done;    /* with all of them, done_ms was written */
    int fd;              /* readable when something is done */
    uint64_t done_ms;
    size_t n;
    struct answer answer[];
};

static void job_leave(struct lookup_job *job)
{
    if (job == NULL || atomic_fetch_sub(&job->holders, 1) > 1)
        return;
    for (size_t i = 0; i < job->n; i++) {
        free(job->answer[i].name);
        free(job->answer[i].found);
    }
    if (job->fd >= 0)
        close(job->fd);
    free(job);
}

static uint64_t clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* -- the thread ------------------------------------------------------------------------------ */

static int write_addresses(const struct addrinfo *list, FILE *out)
{
    char text[NI_MAXHOST];
    int n = 0;

    for (; list != NULL; list = list->ai_next)
        if (getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
            fprintf(out, "%s%s", n++ > 0 ? "," : "", text);
    return n > 0 ? 0 : EAI_NONAME;
}

/* As libpq asks, and in the order in which it would try them. */
static void answer_one(struct answer *a)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list = NULL;
    size_t len = 0;
    FILE *out = NULL;

    a->rc = getaddrinfo(a->name, NULL, &hints, &list);
    if (a->rc == 0)
        a->rc = (out = open_memstream(&a->found, &len)) != NULL ? write_addresses(list, out) : EAI_MEMORY;
    if (out != NULL && fclose(out) != 0)
        a->rc = EAI_MEMORY;
    if (list != NULL)
        freeaddrinfo(list);
    if (a->rc != 0) {
        free(a->found);
        a->found = NULL;
    }
}

static void *thread_main(void *arg)
{
    struct lookup_job *job = arg;

    for (size_t i = 0; i < job->n; i++) {
        answer_one(&job->answer[i]);
        atomic_store(&job->answer[i].done, true);
        (void)eventfd_write(job->fd, 1);
    }
    job->done_ms = clock_ms();
    atomic_store(&job->done, true);
    (void)eventfd_write(job->fd, 1);
    job_leave(job);
    return NULL;
}

/* -- the loop's side ------------------------------------------------------------------------- */

static struct lookup_job *job_new(const struct hosts *hosts)
{
    struct lookup_job *job = calloc(1, sizeof *job + hosts->n * sizeof job->answer[0]);

    if (job == NULL)
        return NULL;
    atomic_init(&job->holders, 1);
    job->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool whole = job->fd >= 0;
    for (size_t i = 0; whole && i < hosts->n; i++)
        if (hosts->host[i].sought) {
            job->answer[job->n].name = strdup(hosts->host[i].name);
            whole = job->answer[job->n++].name != NULL;
        }
    if (whole)
        return job;
    job_leave(job);
    return NULL;
}

/* Signals are the caller's. Nobody joins it: it may not come back for a long time. */
static int start_thread(struct lookup_job *job)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;

    if (pthread_attr_init(&attr) != 0)
        return -1;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (rc == 0) {
        atomic_store(&job->holders, 2);
        rc = pthread_create(&thread, &attr, thread_main, job);
        if (rc != 0)
            atomic_store(&job->holders, 1);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    (void)pthread_attr_destroy(&attr);
    return rc == 0 ? 0 : -1;
}

static void leave(struct lookup *l)
{
    job_leave(l->job);
    l->job = NULL;
}

static const struct answer *answer_to(const struct lookup_job *job, const char *name)
{
    for (size_t i = 0; i < job->n; i++)
        if (strcmp(job->answer[i].name, name) == 0)
            return &job->answer[i];
    return NULL;
}

/* Was it asked for all of them? The dsn's service file may have changed since. */
static bool fits(const struct lookup *l)
{
    for (size_t i = 0; i < l->hosts.n; i++)
        if (l->hosts.host[i].sought && answer_to(l->job, l->hosts.host[i].name) == NULL)
            return false;
    return true;
}

/* Errors alone that nobody waited for may be over. Beside a host that was found they are as good as new ones: who asked
 * anew for each would never come to the host behind one whose server answers later than a try waits. */
static bool is_usable(const struct lookup *l, uint64_t now_ms)
{
    bool found = false;

    for (size_t i = 0; i < l->job->n; i++)
        found = found || l->job->answer[i].rc == 0;
    return found && now_ms < l->job->done_ms + FRESH_MS && fits(l);
}

/* What is known goes to libpq. */
static int conclude(struct lookup *l)
{
    l->waiting = false;
    for (size_t i = 0; i < l->hosts.n; i++)
        if (l->hosts.host[i].why == NULL)
            l->hosts.host[i].why = "no answer in time"; /* of those that have no address */
    outbox__hosts_missing(&l->hosts, l->missing, sizeof l->missing);
    int rc = outbox__hosts_lists(&l->hosts, &l->lists);
    if (rc < 0)
        snprintf(l->missing, sizeof l->missing, "out of memory");
    return rc == 0 ? 1 : -1;
}

static void take_answers(struct lookup *l)
{
    for (size_t i = 0; i < l->hosts.n; i++) {
        struct host *host = &l->hosts.host[i];
        const struct answer *a = host->sought ? answer_to(l->job, host->name) : NULL;
        if (a == NULL || !atomic_load(&a->done) || host->address[0] != '\0')
            continue;
        char *found = a->found != NULL ? strdup(a->found) : NULL;
        if (found != NULL) {
            free(host->address);
            host->address = found;
        } else {
            host->why = gai_strerror(a->rc != 0 ? a->rc : EAI_MEMORY);
        }
    }
}

static int begin_job(struct lookup *l)
{
    l->job = job_new(&l->hosts);
    if (l->job != NULL && start_thread(l->job) == 0)
        return 0;
    leave(l);
    l->waiting = false;
    l->threadless = true;
    return 1;
}

int outbox__lookup_step(struct lookup *l, uint64_t now_ms)
{
    bool done = atomic_load(&l->job->done);
    eventfd_t n;

    (void)eventfd_read(l->job->fd, &n);
    take_answers(l);
    if (done && !fits(l)) {
        leave(l);
        return begin_job(l);
    }
    if (done)
        leave(l);
    else if (outbox__hosts_known(&l->hosts) && l->deadline_ms > now_ms + GRACE_MS)
        l->deadline_ms = now_ms + GRACE_MS;
    return done || now_ms >= l->deadline_ms ? conclude(l) : 0;
}

/* What libpq makes of the dsn, with service file, environment and defaults. It tells only who has a connection: so it is
 * asked for one that it refuses by its settings, before it does anything. The password spares it its file. */
static PQconninfoOption *ask_libpq(const char *dsn)
{
    static const char *const names[] = { "dbname", "password", "sslmode", NULL };
    const char *const values[] = { dsn, "-", "none of libpq's", NULL };
    PGconn *pg = PQconnectStartParams(names, values, 1);
    PQconninfoOption *options = PQconninfo(pg); /* of NULL it is NULL */

    PQfinish(pg);
    return options;
}

const char *outbox__option_value(const PQconninfoOption *options, const char *keyword)
{
    while (options->keyword != NULL && strcmp(options->keyword, keyword) != 0)
        options++;
    return options->val; /* of the end of the list: NULL */
}

static int read_hosts(struct lookup *l, const char *dsn)
{
    PQconninfoOption *o = ask_libpq(dsn);

    outbox__hosts_deinit(&l->hosts);
    outbox__host_lists_deinit(&l->lists);
    l->missing[0] = '\0';
    int rc = o == NULL ? -1
                       : outbox__hosts_parse(&l->hosts, outbox__option_value(o, "host"), outbox__option_value(o, "hostaddr"),
                                             outbox__option_value(o, "port"));
    PQconninfoFree(o);
    if (rc < 0)
        snprintf(l->missing, sizeof l->missing, "out of memory");
    return rc;
}

int outbox__lookup_begin(struct lookup *l, const char *dsn, uint64_t now_ms, uint64_t timeout_ms)
{
    l->threadless = false;
    if (read_hosts(l, dsn) < 0)
        return -1;
    if (!outbox__hosts_sought(&l->hosts))
        return 1;
    if (l->job != NULL && atomic_load(&l->job->done) && !is_usable(l, now_ms))
        leave(l);
    if (l->job == NULL && begin_job(l) > 0)
        return 1;
    l->waiting = true;
    l->deadline_ms = now_ms + timeout_ms;
    return outbox__lookup_step(l, now_ms);
}

int outbox__lookup_fd(const struct lookup *l)
{
    return l->job->fd;
}

void outbox__lookup_deinit(struct lookup *l)
{
    leave(l);
    outbox__hosts_deinit(&l->hosts);
    outbox__host_lists_deinit(&l->lists);
}
