/* allocator.h - the C library's memory allocator, set up for what a relay does with it. */
#ifndef RELAY_ALLOCATOR_H
#define RELAY_ALLOCATOR_H

/* Runs the program again from its beginning, with the same arguments, in an environment that has the
 * settings; returns in that second run, or when they cannot be had. To be called before anything is read or
 * opened. Leaves alone what the user chose (GLIBC_TUNABLES), and does nothing without glibc. */
void allocator_set_up(char **argv);

#endif
