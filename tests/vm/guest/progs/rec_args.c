/*
 * KTR_ARGS and KTR_ENVS, of FreeBSD 15: the strings passed to execve(2), some with blanks, some
 * empty.
 */

#include <sys/wait.h>

#include "ktr.h"
#include "rec.h"

int
main(void)
{
	char *argv[] = {"true", "one", "two words", "", NULL};
	char *envp[] = {"A=b", "EMPTY=", NULL};
	char comm[MAXCOMLEN + 1];
	int status;
	pid_t pid;

	strlcpy(comm, getprogname(), sizeof(comm));
	rec_start(1 << KTR_ARGS | 1 << KTR_ENVS | KTRFAC_INHERIT);

	if ((pid = fork()) == 0) {
		execve("/usr/bin/true", argv, envp);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	if (status != 0)
		errx(2, "status %d of the child", status);
	rec_want_from(pid, 0, comm, "ARGS", "\"true\", \"one\", \"two words\", \"\"");
	rec_want_from(pid, 0, comm, "ENVS", "\"A=b\", \"EMPTY=\"");

	rec_stop();
	return (0);
}
