/*
 * KTR_FAULT: address and access of a page fault: a first write, a first read, and a refused access.
 */

#include <sys/mman.h>

#include "rec.h"
#include "trap.h"

int
main(void)
{
	volatile char *page, *none;

	page = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_ANON, -1, 0);
	none = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_ANON, -1, 0);
	if (page == MAP_FAILED || none == MAP_FAILED)
		err(2, "mmap");
	trap_init();
	/* Other pages, of the stack or a library, may add faults. */
	rec_only(
	    "PFLT.*(%#lx|%#lx|%#lx) ", (long)page + 8, (long)page + PAGE_SIZE + 16, (long)none);
	rec_start(KTRFAC_FAULT);

	page[8] = 1;
	rec_want("PFLT", "%#lx 0x2<VM_PROT_WRITE>", (long)page + 8);
	(void)page[PAGE_SIZE + 16];
	rec_want("PFLT", "%#lx 0x1<VM_PROT_READ>", (long)page + PAGE_SIZE + 16);
	trap_write(none);
	rec_want("PFLT", "%#lx 0x2<VM_PROT_WRITE>", (long)none);

	rec_stop();
	return (0);
}
