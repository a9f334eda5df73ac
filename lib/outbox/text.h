/* text.h - UTF-8, quoting for messages, JSON strings. Pure; independent of the locale. */
#ifndef OUTBOX_LIB_TEXT_H
#define OUTBOX_LIB_TEXT_H

#include <stddef.h>
#include <stdint.h>

#define OUTBOX__TEXT_OK SIZE_MAX
#define OUTBOX__QUOTE_SIZE 208

/** Decode one character of s, n >= 1 bytes. Returns its length, or 0 when it is not valid UTF-8. */
size_t outbox__utf8_decode(const unsigned char *s, size_t n, uint32_t *ret_code_point);

/** Offset of the first byte that is not valid UTF-8, or OUTBOX__TEXT_OK. NUL is a character. */
size_t outbox__utf8_check(const void *text, size_t len);

/** Offset of the first C0, DEL or C1 control character of valid UTF-8, or OUTBOX__TEXT_OK. */
size_t outbox__control_find(const char *text, size_t len);

/** Offset of the first byte outside ASCII, or OUTBOX__TEXT_OK. */
size_t outbox__non_ascii_find(const char *text, size_t len);

/** Put len bytes in double quotes as printable ASCII, cut after 48 bytes. Returns ret. */
const char *outbox__quote(const char *text, size_t len, char ret[OUTBOX__QUOTE_SIZE]);

/** Copy foreign text (a server message) as one line of valid UTF-8 without control characters, cut
 *  between characters to fit into size bytes with the NUL; size >= 1. Returns ret. */
const char *outbox__one_line(const char *text, char *ret, size_t size);

/** Write valid UTF-8 as a JSON string with its quotes, in ASCII only; no NUL is added. Returns the
 *  number of bytes; with ret NULL it only counts. */
size_t outbox__json_string(const void *text, size_t len, char *ret);

#endif
