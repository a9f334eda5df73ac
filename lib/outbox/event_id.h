/* event_id.h - new event ids from the system's clock and random bytes. */
#ifndef OUTBOX_LIB_EVENT_ID_H
#define OUTBOX_LIB_EVENT_ID_H

#include <stddef.h>

#define OUTBOX__IDS_AT_ONCE 32
#define OUTBOX__NO_RANDOM_BYTES "the system gives no random bytes for an event id"

/** Make one id. OUTBOX_OK, or OUTBOX_ENOMEM when there are no random bytes. */
int outbox__event_id_make(unsigned char ret[16]);

/** Make n ids, up to OUTBOX__IDS_AT_ONCE, in ascending order. The same
 *  codes. */
int outbox__event_ids_make(unsigned char (*ret)[16], size_t n);

#endif
