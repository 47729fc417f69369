/*
 * KTR_FAULT: address and access of a page fault: a first write, a first read,
 * one that is refused.
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
	volatile char *page, *none;

	page =
	    mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_ANON, -1, 0);
	none = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_ANON, -1, 0);
	if (page == MAP_FAILED || none == MAP_FAILED)
		err(2, "mmap");
	/* Which of the two it is depends on the release that the program was
	 * built for. */
	signal(SIGSEGV, on_trap);
	signal(SIGBUS, on_trap);
	{
		char pattern[128];

		/* Of other pages, the stack's or a library's, there may be
		 * more. */
		snprintf(pattern, sizeof(pattern), "PFLT.*(%#lx|%#lx|%#lx) ",
		    (long)page + 8, (long)page + PAGE_SIZE + 16, (long)none);
		rec_only(pattern);
	}
	rec_start(KTRFAC_FAULT);

	page[8] = 1;
	rec_want("PFLT", "%#lx 0x2<VM_PROT_WRITE>", (long)page + 8);
	(void)page[PAGE_SIZE + 16];
	rec_want("PFLT", "%#lx 0x1<VM_PROT_READ>", (long)page + PAGE_SIZE + 16);
	if (sigsetjmp(back, 1) == 0)
		none[0] = 1;
	rec_want("PFLT", "%#lx 0x2<VM_PROT_WRITE>", (long)none);

	rec_stop();
	return (0);
}
