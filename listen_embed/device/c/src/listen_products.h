/* Instructions that C has no words for: two products at once, and saturation. */
#ifndef LISTEN_PRODUCTS_H
#define LISTEN_PRODUCTS_H

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32) && !defined(LISTEN_NO_SIMD)
#define LISTEN_SIMD 1
#else
#define LISTEN_SIMD 0
#endif

/* Helium: vectors of 16 bytes. */
#if LISTEN_SIMD && defined(__ARM_FEATURE_MVE)
#define LISTEN_VECTORS 1
#include <arm_mve.h>
#else
#define LISTEN_VECTORS 0
#endif

static inline int32_t saturated(int32_t value)
{
#if defined(__GNUC__) && defined(__ARM_FEATURE_SAT)
    __asm__("ssat %0, #8, %1" : "=r"(value) : "r"(value));
    return value;
#else
    value = value < -128 ? -128 : value;
    return value > 127 ? 127 : value;
#endif
}

/* sum + a * b / 2^32, rounded down. */
static inline int32_t add_high_product(int32_t sum, int32_t a, int32_t b)
{
#if LISTEN_SIMD
    int32_t result;
    __asm__("smmla %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
#else
    return sum + (int32_t)(((int64_t)a * b) >> 32);
#endif
}

#if LISTEN_SIMD

/* What follows is not loaded before: all of it together needs more registers than there are. */
static inline void in_turn(void)
{
    __asm__ volatile("" : : : "memory");
}

/* Two halves at a multiple of four bytes, whatever was written there. */
typedef uint32_t __attribute__((may_alias)) listen_word;

/* Four bytes from any address. */
static inline uint32_t word(const void *bytes)
{
    uint32_t loaded;
    memcpy(&loaded, bytes, sizeof loaded);
    return loaded;
}

/* Bytes 0 and 2, sign-extended, as two halves of a word. */
static inline uint32_t even_bytes(uint32_t packed)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(packed));
    return halves;
}

static inline uint32_t odd_bytes(uint32_t packed)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(packed));
    return halves;
}

static inline uint32_t low_halves(uint32_t first, uint32_t second)
{
    uint32_t joined;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(joined) : "r"(first), "r"(second));
    return joined;
}

static inline uint32_t high_halves(uint32_t first, uint32_t second)
{
    uint32_t joined;
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(joined) : "r"(first), "r"(second));
    return joined;
}

/* Both halves of a with those of b. */
static inline int32_t add_products(int32_t sum, uint32_t a, uint32_t b)
{
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* The low half of a with the high one of b. */
static inline int32_t add_low_high(int32_t sum, uint32_t a, uint32_t b)
{
    int32_t result;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

static inline int32_t add_high_low(int32_t sum, uint32_t a, uint32_t b)
{
    int32_t result;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

#endif

#endif
