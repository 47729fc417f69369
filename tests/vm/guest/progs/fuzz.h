/*
 * Values of which fuzz makes its data: these letters and addresses, and small numbers. ktr_raw thus
 * knows the possible contents of a trace file.
 */

#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>

/* The letters in memory that the processes write from. */
#define FUZZ_LETTERS "abcdefgh"

/* Kernel addresses that the processes pass: of its text, its data, the direct map. */
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
