/* consumer.c - inbox_consumer: made, run, stopped, freed; and the loop. Knows neither libpq nor librdkafka. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "inside.h"
#include "lib/outbox/error.h"

#define TURN_EVERY_MS 60000
#define REDRIVE_EVERY_MS 1000
#define WAITS_LONG_MS 5000 /* for partitions: then somebody may wonder */

/* -- making and freeing ----------------------------------------------------------------------- */

void inbox_consumer_free(inbox_consumer *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n_handlers; i++)
        free(c->handlers[i].type);
    free(c->handlers);
    inbox__stats_deinit(c);
    inbox__settings_deinit(&c->set);
    inbox__way_deinit(c);
    free(c);
}

int inbox_consumer_new(const char *const *settings, inbox_consumer **ret_consumer, outbox_error *err)
{
    struct inbox_consumer *c;
    int code;

    if (settings == NULL || ret_consumer == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "settings or ret_consumer is NULL");
    c = calloc(1, sizeof *c);
    if (c == NULL || inbox__stats_init(c) != 0 || inbox__way_init(c) != 0) {
        inbox_consumer_free(c);
        return outbox__error_set(err, OUTBOX_ENOMEM, "no memory for a consumer");
    }
    c->stall_s = INBOX__STALL_S;
    code = inbox__settings_read(settings, &c->set, err);
    if (code == OUTBOX_OK)
        code = inbox__kafka_check(c, err);
    if (code == OUTBOX_OK)
        code = inbox__settings_check(&c->set, err);
    if (code == OUTBOX_OK)
        code = inbox__db_check(c, err);
    if (code != OUTBOX_OK) {
        inbox_consumer_free(c);
        return code;
    }
    *ret_consumer = c;
    return OUTBOX_OK;
}

static struct inbox__handler *place_for(inbox_consumer *c, const char *type)
{
    struct inbox__handler *more;

    for (size_t i = 0; i < c->n_handlers; i++)
        if (type == NULL ? c->handlers[i].type == NULL
                         : c->handlers[i].type != NULL && strcmp(c->handlers[i].type, type) == 0)
            return &c->handlers[i];
    more = realloc(c->handlers, (c->n_handlers + 1) * sizeof *more);
    if (more == NULL)
        return NULL;
    c->handlers = more;
    more[c->n_handlers].type = type != NULL ? strdup(type) : NULL;
    if (type != NULL && more[c->n_handlers].type == NULL)
        return NULL;
    return &more[c->n_handlers++];
}

int inbox_consumer_on(inbox_consumer *c, const char *type, inbox_handler handler, void *arg,
                      outbox_error *err)
{
    struct inbox__handler *h;

    if (c == NULL || handler == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "the consumer or the handler is NULL");
    h = place_for(c, type);
    if (h == NULL)
        return outbox__error_set(err, OUTBOX_ENOMEM, "no memory for a handler");
    h->call = handler;
    h->arg = arg;
    return OUTBOX_OK;
}

void inbox_consumer_log(inbox_consumer *c, inbox_log log, void *arg)
{
    c->log = log;
    c->log_arg = arg;
}

void inbox_consumer_stop(inbox_consumer *c)
{
    if (c != NULL)
        atomic_store(&c->stop, 1);
}

void inbox_fail(const inbox_message *msg, const char *text)
{
    if (msg != NULL && msg->internal != NULL && text != NULL)
        inbox__record_fail(msg->internal, text);
}

/* -- running ---------------------------------------------------------------------------------- */

static bool is_stopped(inbox_consumer *c)
{
    return atomic_load(&c->stop) != 0;
}

/* Who this is, for people (host and process) and for the database (chance). */
static int name_owner(inbox_consumer *c, outbox_error *err)
{
    char host[33] = "";

    if (getrandom(&c->chance, sizeof c->chance, 0) != (ssize_t)sizeof c->chance)
        return outbox__error_set(err, OUTBOX_ENOMEM, "the system gives no random bytes");
    (void)gethostname(host, sizeof host - 1);
    for (char *at = host; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            *at = '?';
    snprintf(c->owner, sizeof c->owner, "%s/%ld/%016" PRIx64, host, (long)getpid(), c->chance);
    return OUTBOX_OK;
}

/* How long to wait for a record: not at all while there is work. */
static int wait_ms(const inbox_consumer *c, uint64_t now_ms)
{
    uint64_t due = inbox__window_due(&c->window);

    if (c->conn == NULL)
        due = c->connect_due_ms;
    else if (c->batch_due_ms > now_ms)
        due = c->batch_due_ms;
    else if (inbox__window_has_work(&c->window, now_ms))
        return 0;
    if (c->conn != NULL && c->redrive_due_ms < due)
        due = c->redrive_due_ms;
    return due <= now_ms ? 0 : due - now_ms < INBOX__IDLE_MS ? (int)(due - now_ms) : INBOX__IDLE_MS;
}

/* Take records: until there are two batches to do, or as many as there should be; or for a second, since those that
 * nobody handles are none of these. One poll at least, since rebalances come that way too. */
static int fetch(inbox_consumer *c, uint64_t now_ms, outbox_error *err)
{
    int timeout_ms = wait_ms(c, now_ms), code;
    bool any = true;

    do {
        code = inbox__kafka_poll(c, timeout_ms, &any, err);
        c->drained = c->drained || (!any && c->conn != NULL);
        inbox__partitions_pressure(c);
        timeout_ms = 0;
    } while (code == OUTBOX_OK && any && !c->full && !is_stopped(c) &&
             inbox__now_ms() - now_ms < INBOX__ROUND_MS &&
             !inbox__window_stocked(&c->window, inbox__bound(c), 2 * c->set.batch_rows));
    return code;
}

/* Once for each time that it has none for long, and when the reason is another; out of the group and in it these are
 * two times. */
static void say_waiting(inbox_consumer *c, uint64_t now_ms)
{
    const char *why;

    if (c->partitions != NULL) {
        c->waiting_due_ms = now_ms + WAITS_LONG_MS;
        c->waits_for = "";
    }
    if (now_ms < c->waiting_due_ms)
        return;
    c->waiting_due_ms = now_ms + WAITS_LONG_MS;
    why = inbox__kafka_waits_for(c);
    if (strcmp(why, c->waits_for) == 0)
        return;
    c->waits_for = why;
    inbox__log(c, 6, "this process has no partition of group \"%s\": %s", c->set.group, why);
}

/* Once a second: what may wait. */
static void tend(inbox_consumer *c, uint64_t now_ms)
{
    c->second_due_ms = now_ms + 1000;
    say_waiting(c, now_ms);
    inbox__partitions_watch(c);
    inbox__kafka_hint(c);
    c->figures.lag = inbox__kafka_lag(c);
    if (now_ms >= c->turn_due_ms) {
        c->turn_due_ms = now_ms + TURN_EVERY_MS;
        inbox__db_turn(c);
    }
}

static int redrive(inbox_consumer *c, uint64_t now_ms, outbox_error *err)
{
    bool more = false;
    int code;

    if (now_ms < c->redrive_due_ms)
        return OUTBOX_OK;
    code = inbox__redrive(c, &more, err);
    c->redrive_due_ms = more ? 0 : now_ms + REDRIVE_EVERY_MS;
    return code;
}

static int join_group(inbox_consumer *c, uint64_t now_ms, outbox_error *err)
{
    c->waiting_due_ms = now_ms + WAITS_LONG_MS;
    c->waits_for = "";
    return inbox__kafka_open(c, err);
}

static void leave_group(inbox_consumer *c)
{
    inbox__kafka_close(c);
    inbox__partitions_clear(c);
    c->figures.lag = 0;
}

/* Without a link it can claim nothing, and what Kafka assigns to it stands: so it joins with one, and leaves to those
 * that have one. Not at once, since a server that restarts would have every group move all its partitions twice. */
static int tend_membership(inbox_consumer *c, uint64_t now_ms, outbox_error *err)
{
    if (c->conn != NULL) {
        c->leave_due_ms = UINT64_MAX;
        return c->kafka != NULL ? OUTBOX_OK : join_group(c, now_ms, err);
    }
    if (c->kafka == NULL)
        return OUTBOX_OK;
    if (c->leave_due_ms == UINT64_MAX)
        c->leave_due_ms = now_ms + c->patience_ms;
    if (now_ms < c->leave_due_ms)
        return OUTBOX_OK;
    inbox__log(c, 4, "there has been no link to the database for %" PRIu64 " s: it leaves group \"%s\", so that others take its "
               "partitions, and joins again when there is one", c->patience_ms / 1000, c->set.group);
    leave_group(c);
    return OUTBOX_OK;
}

static int turn_once(inbox_consumer *c, outbox_error *err)
{
    uint64_t now_ms = inbox__now_ms();
    bool second = now_ms >= c->second_due_ms;
    int code = inbox__db_tend(c, now_ms, err);

    if (code == OUTBOX_OK)
        code = tend_membership(c, now_ms, err);
    if (code == OUTBOX_OK)
        code = fetch(c, now_ms, err);
    if (code != OUTBOX_OK) /* the run ends, and the caller says why: what else fails of it is not told before */
        return code;
    now_ms = inbox__now_ms();
    inbox__partitions_tend(c, now_ms);
    code = inbox__batch_run(c, now_ms, second, err);
    if (code == OUTBOX_OK)
        code = redrive(c, now_ms, err);
    if (code == OUTBOX_OK && second)
        tend(c, now_ms);
    inbox__stats_publish(c);
    return code;
}

static int open_all(inbox_consumer *c, outbox_error *err)
{
    int code = name_owner(c, err);

    c->batch_limit = 1;
    c->batch_failures = c->careful = 0;
    c->one_by_one = false;
    c->last_id[0] = '\0';
    c->said_failed = (struct restraint){ 0 };
    c->sent_back = (struct inbox__sent_back){ 0 };
    c->connect_due_ms = c->batch_due_ms = c->second_due_ms = c->turn_due_ms = c->redrive_due_ms = 0;
    c->waiting_due_ms = inbox__now_ms() + WAITS_LONG_MS;
    c->waits_for = "";
    c->leave_due_ms = UINT64_MAX;
    c->full = c->any_crowded = c->drained = false;
    c->calm_s = 0;
    if (code == OUTBOX_OK && inbox__window_init(&c->window, (uint32_t)c->set.inflight_rows) != 0)
        code = outbox__error_set(err, OUTBOX_ENOMEM, "no memory for a consumer");
    return code;
}

static void close_all(inbox_consumer *c)
{
    leave_group(c);
    inbox__way_leave(c);
    inbox__db_close(c);
    inbox__stats_publish(c);
    inbox__window_deinit(&c->window);
}

int inbox_consumer_run(inbox_consumer *c, outbox_error *err)
{
    int code;

    if (c == NULL || c->n_handlers == 0)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "the consumer is NULL, or has no handler: inbox_consumer_on()");
    if (atomic_exchange(&c->running, 1) != 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "the consumer runs already");
    code = open_all(c, err);
    while (code == OUTBOX_OK && !is_stopped(c))
        code = turn_once(c, err);
    close_all(c);
    if (code == OUTBOX_OK) /* else the stop, if there was one, is for the next */
        atomic_store(&c->stop, 0);
    atomic_store(&c->running, 0);
    return code;
}
