/*
 * Writes to memory that is not writable.
 */

#ifndef TRAP_H
#define TRAP_H

#include <setjmp.h>
#include <signal.h>

static sigjmp_buf trap_back;

static void
trap_on(int sig)
{
	(void)sig;
	siglongjmp(trap_back, 1);
}

/*
 * Catches both possible signals. Which one it is depends on the release that the program was built
 * for.
 */
static void
trap_init(void)
{
	signal(SIGSEGV, trap_on);
	signal(SIGBUS, trap_on);
}

/* Writes to *p, and continues if that traps. */
static void
trap_write(volatile char *p)
{
	if (sigsetjmp(trap_back, 1) == 0)
		*p = 1;
}

#endif
