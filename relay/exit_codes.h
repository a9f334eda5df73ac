/* exit_codes.h - how the process ends; the numbers are those of sysexits.h where it has one.
 * Those below 64 are of the commands. */
#ifndef RELAY_EXIT_CODES_H
#define RELAY_EXIT_CODES_H

enum {
    EXIT_OK = 0,
    EXIT_NO_MATCH = 1, /* no event is as described */
    EXIT_REFUSED = 2,  /* nothing was done: the answer was no, or order would be broken */
    EXIT_USAGE = 64,
    EXIT_UNAVAILABLE = 69,
    EXIT_INTERNAL = 70,
    EXIT_PERMISSION = 77,
    EXIT_CONFIGURATION = 78
};

#endif
