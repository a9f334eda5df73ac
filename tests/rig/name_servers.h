/* name_servers.h - name servers that a test makes up, for what looks up names beside its caller (lib/shared/lookup.h):
 * "*.mute" and "*.mute.gone" say nothing until they are let, "*.gone" is not known, and all other names are `found`.
 *
 * Included by a test file itself (tests/rig/fake.h). It counts the threads that ask, so that none is left at the end.
 */
#ifndef TESTS_RIG_NAME_SERVERS_H
#define TESTS_RIG_NAME_SERVERS_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/rig/fake.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static const char *found[2] = { "10.0.0.1", "10.0.0.2" }; /* NULL: no such address */
static bool mute, no_thread;
static unsigned n_asked; /* for "*.mute" */
static unsigned n_running;

static struct addrinfo *one_address(const char *address, struct addrinfo *next)
{
    struct addrinfo *a = calloc(1, sizeof *a);
    struct sockaddr_in *in = calloc(1, sizeof *in);

    ck_assert(a != NULL && in != NULL);
    in->sin_family = AF_INET;
    ck_assert_int_eq(inet_pton(AF_INET, address, &in->sin_addr), 1);
    *a = (struct addrinfo){ .ai_family = AF_INET, .ai_addr = (struct sockaddr *)in, .ai_addrlen = sizeof *in,
                            .ai_next = next };
    return a;
}

static bool ends(const char *name, const char *end)
{
    return strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

FAKE(int, getaddrinfo, (const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret))
{
    (void)service;
    *ret = NULL;
    if (hints->ai_flags & AI_NUMERICHOST) {
        struct in_addr in;
        return inet_pton(AF_INET, name, &in) == 1 ? 0 : EAI_NONAME;
    }
    if (ends(name, ".mute") || ends(name, ".mute.gone")) {
        pthread_mutex_lock(&lock);
        n_asked++;
        while (mute)
            pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
    }
    if (ends(name, ".gone"))
        return EAI_NONAME;
    *ret = one_address(found[0], found[1] != NULL ? one_address(found[1], NULL) : NULL);
    return 0;
}

FAKE(void, freeaddrinfo, (struct addrinfo * list))
{
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_addr);
        free(list);
        list = next;
    }
}

struct thread {
    void *(*start)(void *);
    void *arg;
};

static void *run_counted(void *arg)
{
    struct thread t = *(struct thread *)arg;

    free(arg);
    (void)t.start(t.arg);
    pthread_mutex_lock(&lock);
    n_running--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

FAKE(int, pthread_create, (pthread_t *ret, const pthread_attr_t *attr, void *(*start)(void *), void *arg))
{
    struct thread *t = no_thread ? NULL : malloc(sizeof *t);

    if (t == NULL)
        return EAGAIN;
    *t = (struct thread){ start, arg };
    pthread_mutex_lock(&lock);
    n_running++;
    pthread_mutex_unlock(&lock);
    return __real_pthread_create(ret, attr, run_counted, t);
}

/* All names are answered, and no thread is left. */
static void answer_all(void)
{
    pthread_mutex_lock(&lock);
    mute = false;
    pthread_cond_broadcast(&changed);
    while (n_running > 0)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

#endif
