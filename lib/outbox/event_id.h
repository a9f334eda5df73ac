/* event_id.h - new event ids from the system's clock and random bytes. */
#ifndef OUTBOX_LIB_EVENT_ID_H
#define OUTBOX_LIB_EVENT_ID_H

/** Make one id as 16 bytes. OUTBOX_OK, or OUTBOX_ENOMEM when there are no random bytes. */
int outbox__event_id_make(unsigned char ret[16]);

#endif
