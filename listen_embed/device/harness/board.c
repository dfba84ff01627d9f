/* The check on a Cortex-M: start-up, files by semihosting, instructions by SysTick.
 *
 * QEMU counts one nanosecond for each instruction (-icount shift=0), and SysTick counts those.
 */
#include <string.h>

#include "check.h"

#define PAINT 0xA5

extern uint8_t data_load[], data_begin[], data_end[], bss_begin[], bss_end[];
extern uint8_t library_begin[], library_end[], stack_begin[], stack_end[];

int main(void);

/* ---- semihosting ---- */

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT = 0x18 };
enum { MODE_READ = 1, MODE_WRITE = 5 };

static int32_t input, output;

static int32_t host(int32_t operation, const void *arguments)
{
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int32_t open_file(const char *name, uint32_t mode)
{
    uint32_t arguments[3];
    arguments[0] = (uint32_t)name;
    arguments[1] = mode;
    arguments[2] = (uint32_t)strlen(name);
    return host(SYS_OPEN, arguments);
}

static void leave(int is_well)
{
    uint32_t reason = is_well ? 0x20026 : 0x20024; /* application exit, run-time error */
    host(SYS_EXIT, (const void *)reason);
    for (;;) {
    }
}

void check_open(void)
{
    input = open_file("check.in", MODE_READ);
    output = open_file("check.out", MODE_WRITE);
    if (input < 0 || output < 0) {
        leave(0);
    }
}

static uint32_t transfer(int32_t operation, int32_t file, const void *memory, size_t n)
{
    uint32_t arguments[3];
    arguments[0] = (uint32_t)file;
    arguments[1] = (uint32_t)memory;
    arguments[2] = n;
    return (uint32_t)host(operation, arguments); /* bytes that were not transferred */
}

size_t check_read(void *to, size_t n)
{
    return n - transfer(SYS_READ, input, to, n);
}

void check_write(const void *from, size_t n)
{
    if (transfer(SYS_WRITE, output, from, n)) {
        leave(0);
    }
}

void check_close(void)
{
    uint32_t file = (uint32_t)output;
    host(SYS_CLOSE, &file);
}

/* ---- counting ---- */

#define SYSTICK ((volatile uint32_t *)0xE000E010)

uint32_t check_ticks(void)
{
    static uint32_t last, sum;
    uint32_t now = 0xFFFFFF - SYSTICK[2];
    sum += (now - last) & 0xFFFFFF;
    last = now;
    return sum;
}

uint32_t check_stack_bytes(void)
{
    const uint8_t *at = stack_begin;
    while (*at == PAINT) {
        at++;
    }
    return (uint32_t)(stack_end - at);
}

uint32_t check_memory_bytes(void)
{
    uint32_t touched = 0;
    const uint8_t *at;
    for (at = library_begin; at < library_end; at++) {
        touched += *at != PAINT;
    }
    return touched;
}

/* ---- start ---- */

static void fault(void)
{
    leave(0);
}

/* The library's memory is painted, not zeroed: it must not depend on what it finds there. */
static __attribute__((noinline, used)) void start_in_c(void)
{
    memcpy(data_begin, data_load, (size_t)(data_end - data_begin));
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
    memset(library_begin, PAINT, (size_t)(library_end - library_begin));
    SYSTICK[1] = 0xFFFFFF;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5; /* on, the processor's clock, no interrupt */
    leave(main() == 0);
}

__attribute__((naked, noreturn)) void reset(void)
{
    __asm__ volatile("ldr r0, =stack_begin\n"
                     "ldr r1, =stack_end\n"
                     "mov sp, r1\n"
                     "ldr r2, =0xA5A5A5A5\n"
                     "0: str r2, [r0], #4\n"
                     "cmp r0, r1\n"
                     "blo 0b\n"
                     "ldr r0, =0xE000ED88\n" /* the floating-point unit, where there is one */
                     "ldr r1, [r0]\n"
                     "orr r1, r1, #0xF00000\n"
                     "str r1, [r0]\n"
                     "dsb\n"
                     "isb\n"
                     "b start_in_c\n");
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)(uintptr_t)stack_end, reset, fault, fault, fault, fault, fault, fault,
    fault, fault, fault, fault, fault, fault, fault, fault,
};
