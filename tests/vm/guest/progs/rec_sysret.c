/*
 * KTR_SYSRET: number, error and value: success, failure, a negative value, a restart, a return that
 * sets no value.
 */

#include <sys/syscall.h>
#include <sys/time.h>

#include <errno.h>
#include <signal.h>

#include "rec.h"

/* sigreturn(2) of arm64 leaves no system call number. */
#ifdef __aarch64__
#define SIGRETURN "[-1]"
#else
#define SIGRETURN "sigreturn"
#endif

static volatile sig_atomic_t wfd;

/* Ends the interrupted read, which is restarted. */
static void
on_alarm(int sig)
{
	(void)sig;
	syscall(SYS_write, (long)wfd, "x", 1L);
}

int
main(void)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval it = {.it_value = {0, 200000}};
	pid_t parent = getppid();
	int fds[2];
	char c;

	signal(SIGSYS, SIG_IGN);
	sigaction(SIGALRM, &sa, NULL);
	if (pipe(fds) != 0)
		err(2, "pipe");
	wfd = fds[1];
	setitimer(ITIMER_REAL, &it, NULL);
	/* Ignore calls that the C library makes around a handler. */
	rec_only("RET   F64  "
		 "(getppid|getuid|close|open|\\[1999\\]|umask|read|write|"
		 "sigreturn|\\[-1\\]) ");
	rec_start(KTRFAC_SYSRET);

	syscall(SYS_getppid);
	if (parent > 9)
		rec_want("RET", "getppid %d/%#x", parent, parent);
	else
		rec_want("RET", "getppid %d", parent);
	syscall(SYS_getuid);
	rec_want("RET", "getuid 0");
	syscall(SYS_close, -1L);
	rec_want("RET", "close -1 errno %d %s", EBADF, strerror(EBADF));
	syscall(SYS_open, "/nonexistent", 0L);
	rec_want("RET", "open -1 errno %d %s", ENOENT, strerror(ENOENT));
	syscall(1999);
	rec_want("RET", "[1999] -1 errno %d %s", ENOSYS, strerror(ENOSYS));
	/* A large value. */
	if (syscall(SYS_umask, 077L) != 022)
		errx(2, "umask");
	rec_want("RET", "umask 18/0x12");

	if (syscall(SYS_read, (long)fds[0], &c, 1L) != 1)
		err(2, "read");
	rec_want("RET", "read RESTART");
	rec_want("RET", "write 1");
	rec_want("RET", SIGRETURN " JUSTRETURN");
	rec_want("RET", "read 1");

	rec_stop();
	return (0);
}
