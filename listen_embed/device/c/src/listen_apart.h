/* Loops that share a function share its registers, which are too few. */
#ifndef LISTEN_APART_H
#define LISTEN_APART_H

#if defined(__GNUC__)
#define LISTEN_APART __attribute__((noinline))
#else
#define LISTEN_APART
#endif

#endif
