#ifndef CMALLOCCOUNT_H
#define CMALLOCCOUNT_H

/// Allocations that the calling thread has made so far. 0 for ever where they are not counted.
unsigned long malloc_count_of_this_thread(void);

/// Whether allocations are counted: not under a sanitizer, which brings an allocator of its own.
int malloc_is_counted(void);

#endif
