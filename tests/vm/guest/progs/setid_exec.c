/*
 * Executes PROGRAM under a trace to FILE with faults, where execve(2) itself takes a page fault.
 * Its argument lies on a page that is not mapped at the moment. If PROGRAM is set-id, it ends
 * tracing while that record is queued. Prints the address of the fault.
 *
 *	setid_exec FILE PROGRAM
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/mman.h>

#include <err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	char *page;

	if (argc != 3)
		errx(2, "setid_exec FILE PROGRAM");
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_ANON, -1, 0);
	if (page == MAP_FAILED)
		err(2, "mmap");
	strcpy(page, "1");
	/* This removes the page from the page table, and does not put it back. */
	if (mprotect(page, PAGE_SIZE, PROT_NONE) != 0 || mprotect(page, PAGE_SIZE, PROT_READ) != 0)
		err(2, "mprotect");
	printf("%#lx\n", (long)page);
	fflush(stdout);
	if (ktrace(argv[1], KTROP_SET, KTRFAC_SYSCALL | KTRFAC_SYSRET | KTRFAC_FAULT | KTRFAC_CSW,
		getpid()) != 0)
		err(2, "ktrace");
	execv(argv[2], (char *[]){argv[2], page, NULL});
	err(2, "%s", argv[2]);
}
