/*
 * KTR_FAULTEND: the result of a page fault, one for each KTR_FAULT: success, no such mapping, not
 * allowed.
 */

#include <sys/mman.h>

#include "rec.h"
#include "trap.h"

int
main(void)
{
	volatile char *none, *hole;

	none = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_ANON, -1, 0);
	hole = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_ANON, -1, 0);
	if (none == MAP_FAILED || hole == MAP_FAILED)
		err(2, "mmap");
	trap_init();
	/* The number of successes varies, see records.sh. */
	rec_only("PRET.*KERN_(PROT|INV)");
	rec_start(KTRFAC_FAULT | KTRFAC_FAULTEND);

	trap_write(none);
	rec_want("PRET", "KERN_PROTECTION_FAILURE");
	/* Not earlier: something else may be mapped there. */
	munmap((void *)(uintptr_t)hole, PAGE_SIZE);
	trap_write(hole);
	rec_want("PRET", "KERN_INVALID_ADDRESS");

	rec_stop();
	return (0);
}
