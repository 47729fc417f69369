/*
 * Random numbers that follow from a seed, on each release and machine alike.
 */

#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>

/* Returns a number below n. The state must not be 0. */
static unsigned int
random_below(uint64_t *state, unsigned int n)
{
	/* Marsaglia's xorshift. */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return ((*state >> 16) % n);
}

#endif
