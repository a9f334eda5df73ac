/* error.c - inbox_strerror(): every code that a function of this library returns, as text. */
#include "include/inbox.h"

const char *inbox_strerror(int code)
{
    switch (code) {
    case INBOX_EKAFKA: return "Kafka's client refused the settings, or gave up for good";
    case INBOX_EHANDLER: return "a handler ended the transaction that it was lent";
    case OUTBOX_ESCHEMA: return "the inbox tables are missing or of another version";
    default: return outbox_strerror(code);
    }
}
