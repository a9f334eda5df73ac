/* allocator.c - what the relay tells jemalloc, with which it is linked. Must not know what is allocated.
 *
 * Each header of each record is a piece of memory of its own inside librdkafka, and thousands of records are on
 * their way at once: with the C library's allocator, which joins and splits such pieces again and again, the relay
 * takes a third more processor time for a row with six headers. Built with ALLOCATOR=libc this says nothing to
 * anybody. */

/* jemalloc looks for this name when the program starts; the environment's MALLOC_CONF goes over it. Two arenas: one
 * thread makes records and another sends them, and more would keep memory apart that the others could use. Freed
 * pages go back to the system after a second, as a row may take a megabyte; until then they are used again. By default
 * not all are: of a free extent nothing is given to a request below a 64th of its size, and what a page of rows leaves
 * behind lies together in extents of megabytes. New pages were touched beside them, one for each row of 4 KiB, which
 * cost a seventh of the relay's processor time and half of its memory. 2^16 lets any size be cut from any other. */
extern const char *malloc_conf;
const char *malloc_conf = "narenas:2,lg_extent_max_active_fit:16,dirty_decay_ms:1000,muzzy_decay_ms:0";
