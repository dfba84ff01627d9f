/* No fused multiply-add, which rounds once where the definition rounds twice, and which some
 * processors have and some do not. Included before any function that this is for. */
#ifndef LISTEN_CONTRACT_H
#define LISTEN_CONTRACT_H

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

#endif
