/* cause.c - an event that says which event caused it. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "checks.h"
#include "error.h"
#include "outbox.h"

/* The sizes that the structs had when both were as they are read and written here: with hops. A larger one
 * is of a header that is newer than this library. */
#define EVENT_SIZE (offsetof(outbox_event, reserved) + sizeof(uint32_t))
#define CAUSE_SIZE (offsetof(outbox_cause, reserved) + sizeof(uint32_t))

static int check_cause(const outbox_cause *cause, outbox_error *err)
{
    if (cause == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "cause is NULL");
    if (cause->struct_size < CAUSE_SIZE || cause->struct_size > sizeof(*cause) ||
        cause->reserved != 0)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "cause.struct_size is %zu, not %zu to %zu, or cause.reserved is "
                                 "not 0: start from OUTBOX_CAUSE_INIT, with a header that is not "
                                 "newer than the library (%s)",
                                 cause->struct_size, CAUSE_SIZE, sizeof(*cause),
                                 OUTBOX_VERSION_STRING);
    if (cause->event_id == NULL || cause->event_id[0] == '\0')
        return outbox__error_set(err, OUTBOX_EINVAL, "cause.event_id is %s but required",
                                 cause->event_id == NULL ? "NULL" : "empty");
    if (cause->hops == UINT32_MAX)
        return outbox__error_set(err, OUTBOX_EINVAL, "cause.hops is %lu, which is the end",
                                 (unsigned long)cause->hops);
    return OUTBOX_OK;
}

static int check_effect(const outbox_event *event, outbox_error *err)
{
    if (event == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "event is NULL");
    if (event->struct_size < EVENT_SIZE || event->struct_size > sizeof(*event))
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "event.struct_size is %zu, not %zu to %zu: start from "
                                 "OUTBOX_EVENT_INIT, with a header that has hops and is not newer "
                                 "than the library (%s)",
                                 event->struct_size, EVENT_SIZE, sizeof(*event),
                                 OUTBOX_VERSION_STRING);
    return OUTBOX_OK;
}

int outbox_event_from_cause(outbox_event *event, const outbox_cause *cause, outbox_error *err)
{
    bool traced;
    int code;

    if ((code = check_effect(event, err)) != OUTBOX_OK ||
        (code = check_cause(cause, err)) != OUTBOX_OK)
        return code;
    traced = cause->traceparent != NULL && outbox__is_traceparent(cause->traceparent);
    event->correlation_id = cause->correlation_id != NULL ? cause->correlation_id
                                                          : cause->event_id;
    event->causation_id = cause->event_id;
    event->traceparent = traced ? cause->traceparent : NULL;
    event->tracestate = traced ? cause->tracestate : NULL;
    event->hops = cause->hops + 1;
    return OUTBOX_OK;
}
