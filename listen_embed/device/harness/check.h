/* What the check needs of the machine that it runs on. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdint.h>

void check_open(void);
/* Read up to `n` bytes of the input; return how many there were. */
size_t check_read(void *to, size_t n);
void check_write(const void *from, size_t n);
void check_close(void);

/* Instructions so far, from any beginning; 0 where they cannot be counted. */
uint32_t check_ticks(void);
/* Bytes of the stack, and of the library's memory, that have been written since the start. */
uint32_t check_stack_bytes(void);
uint32_t check_memory_bytes(void);

#endif
