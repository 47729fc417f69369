/*
 * KTR_SYSCALL: number, argument count and every argument, from none to seven, small, large and
 * negative.
 */

#include <sys/mman.h>
#include <sys/syscall.h>

#include <signal.h>

#include "rec.h"

int
main(void)
{
	static const char path[] = "/nonexistent/file";
	char buf[16];

	signal(SIGSYS, SIG_IGN);
	rec_start(KTRFAC_SYSCALL);

	syscall(SYS_getppid);
	rec_want("CALL", "getppid");
	syscall(SYS_close, -1L);
	rec_want("CALL", "close(0xffffffffffffffff)");
	syscall(SYS_dup2, 0x12345678L, 0L);
	rec_want("CALL", "dup2(0x12345678,0)");
	syscall(SYS_read, -1L, buf, 0x123456789abcdefL);
	rec_want("CALL", "read(0xffffffffffffffff,%#lx,0x123456789abcdef)", (long)buf);
	syscall(SYS_pread, 99L, buf, 3L, 0x7fffffffffffffffL);
	rec_want("CALL", "pread(0x63,%#lx,0x3,0x7fffffffffffffff)", (long)buf);
	syscall(SYS_select, -1L, 1L, 2L, 3L, 4L);
	rec_want("CALL", "select(0xffffffffffffffff,0x1,0x2,0x3,0x4)");
	syscall(SYS_mmap, 0L, 0L, (long)PROT_READ, (long)MAP_ANON, -1L, 0x1000L);
	rec_want("CALL", "mmap(0,0,0x1<PROT_READ>,0x1000<MAP_ANON>,"
			 "0xffffffffffffffff,0x1000)");
	syscall(SYS_sendfile, 97L, 98L, 0x1122334455667788L, 4L, 5L, 6L, 2L);
	rec_want("CALL", "sendfile(0x61,0x62,0x1122334455667788,0x4,0x5,0x6,"
			 "0x2<SF_MNOWAIT>)");
	syscall(SYS_openat, (long)AT_FDCWD, path, (long)(O_CREAT | O_RDWR | O_EXCL), 0640L);
	rec_want("CALL",
	    "openat(AT_FDCWD,%#lx,0xa02<O_RDWR|O_CREAT|O_EXCL>,0640<S_IRUSR|S_"
	    "IWUSR|S_IRGRP>)",
	    (long)path);
	/* No such system call. */
	syscall(1999);
	rec_want("CALL", "[1999]");

	rec_stop();
	return (0);
}
