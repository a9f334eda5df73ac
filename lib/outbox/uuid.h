/* uuid.h - UUIDv7 from a clock and random bytes that are given; UUID text. Pure. */
#ifndef OUTBOX_LIB_UUID_H
#define OUTBOX_LIB_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define OUTBOX__UUID_TEXT_SIZE 37

/** A time as the 60 bits that a UUIDv7 carries: 48 bits of Unix milliseconds and 12 bits that
 *  divide the millisecond into 4096 parts (RFC 9562, section 6.2, method 3). Before 1970 is 0. */
uint64_t outbox__uuid_stamp(int64_t seconds, long nanoseconds);

/** The stamp to use after last when the clock says now: later than last in any case. */
uint64_t outbox__uuid_stamp_after(uint64_t last, uint64_t now);

/** Lay out a UUIDv7. Of the 64 random bits 62 are used. */
void outbox__uuid_v7(uint64_t stamp, const unsigned char random[8], unsigned char ret[16]);

/** 36 lower-case characters and a NUL. */
void outbox__uuid_format(const unsigned char uuid[16], char ret[OUTBOX__UUID_TEXT_SIZE]);

/** Read exactly 36 characters, hexadecimal digits of either case and four hyphens in their places.
 *  False, with ret undefined, for anything else. Any version of UUID is accepted. */
bool outbox__uuid_parse(const char *text, unsigned char ret[16]);

#endif
