/* version.c - the version of the library that runs, which may differ from the header's. */
#include "outbox.h"

int outbox_version_number(void)
{
    return OUTBOX_VERSION_NUMBER;
}

const char *outbox_version_string(void)
{
    return OUTBOX_VERSION_STRING;
}
