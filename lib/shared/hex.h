/* hex.h - what a hexadecimal digit is worth, for the libraries and the relay. Pure, and independent of the locale. */
#ifndef OUTBOX_SHARED_HEX_H
#define OUTBOX_SHARED_HEX_H

/* 0 to 15, of either case; -1: it is no digit. */
static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
