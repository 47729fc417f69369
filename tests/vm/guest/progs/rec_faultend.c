/*
 * KTR_FAULTEND: the result of a page fault, one for each KTR_FAULT: success, no
 * such mapping, not allowed.
 */

#include <sys/mman.h>

#include <setjmp.h>
#include <signal.h>

#include "rec.h"

static sigjmp_buf back;

static void
on_trap(int sig)
{
	(void)sig;
	siglongjmp(back, 1);
}

int
main(void)
{
	volatile char *none, *hole;

	none = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_ANON, -1, 0);
	hole = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_ANON, -1, 0);
	if (none == MAP_FAILED || hole == MAP_FAILED)
		err(2, "mmap");
	munmap((void *)(uintptr_t)hole, PAGE_SIZE);
	/* Which of the two it is depends on the release that the program was
	 * built for. */
	signal(SIGSEGV, on_trap);
	signal(SIGBUS, on_trap);
	/* Successes come as they will, see records.sh. */
	rec_only("PRET.*KERN_(PROT|INV)");
	rec_start(KTRFAC_FAULT | KTRFAC_FAULTEND);

	if (sigsetjmp(back, 1) == 0)
		none[0] = 1;
	rec_want("PRET", "KERN_PROTECTION_FAILURE");
	if (sigsetjmp(back, 1) == 0)
		hole[0] = 1;
	rec_want("PRET", "KERN_INVALID_ADDRESS");

	rec_stop();
	return (0);
}
