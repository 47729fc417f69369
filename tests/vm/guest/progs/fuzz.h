/*
 * What fuzz makes its data of, so that ktr_raw knows what can be in a trace file: these letters
 * and addresses, and small numbers.
 */

#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>

/* All that the processes have in the memory that they write from. */
#define FUZZ_LETTERS "abcdefgh"

/* Addresses of the kernel that they pass: of its text, its data, the direct map. */
static const uint64_t fuzz_kernel[] = {
#ifdef __aarch64__
    0xffff000000800000,
    0xffff000001000000,
    0xffffa00000000000,
    0xffffa00001000000,
#else
    0xffffffff80200000,
    0xffffffff81c00000,
    0xfffff80000000000,
    0xfffff80001000000,
    0xfffffe0000000000,
#endif
};

#endif
