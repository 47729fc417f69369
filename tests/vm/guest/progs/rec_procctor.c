/*
 * KTR_PROCCTOR: the first record of a traced process, of its children under KTRFAC_INHERIT, and
 * after exec. kdump prints nothing for it, but takes the ABI (F64) of later records from it.
 */

#include <sys/syscall.h>
#include <sys/wait.h>

#include "rec.h"

int
main(int argc, char *argv[])
{
	char comm[MAXCOMLEN + 1];
	pid_t pid;

	if (argc > 1) {
		/* The second program image. */
		syscall(SYS_utrace, "exec", 4L);
		_exit(0);
	}
	strlcpy(comm, getprogname(), sizeof(comm));
	rec_only("USER");
	rec_start(KTRFAC_USER | KTRFAC_INHERIT);

	utrace("self", 4);
	rec_want("USER", "4  73 65 6c 66");
	if ((pid = fork()) == 0) {
		rec_pin();
		utrace("fork", 4);
		execv(argv[0], (char *[]){argv[0], "again", NULL});
		_exit(1);
	}
	waitpid(pid, NULL, 0);
	rec_want_from(pid, 0, comm, "USER", "4  66 6f 72 6b");
	rec_want_from(pid, 0, comm, "USER", "4  65 78 65 63");

	rec_stop();
	return (0);
}
