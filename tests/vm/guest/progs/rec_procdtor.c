/*
 * KTR_PROCDTOR: the last record of a process that exits traced. kdump prints nothing for it.
 * records.sh shows with ktr_raw that it exists and is last, for an exit, a death by signal and a
 * process of two threads.
 */

#include <sys/wait.h>

#include <signal.h>

#include "rec.h"

static void *
sleeper(void *arg)
{
	pause();
	return (arg);
}

int
main(void)
{
	char comm[MAXCOMLEN + 1];
	pthread_t thread;
	pid_t pid;

	strlcpy(comm, getprogname(), sizeof(comm));
	rec_only("USER");
	rec_start(KTRFAC_USER | KTRFAC_INHERIT);
	for (int how = 0; how < 3; how++) {
		if ((pid = fork()) == 0) {
			if (how == 2)
				pthread_create(&thread, NULL, sleeper, NULL);
			utrace("bye", 3);
			if (how == 1)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		rec_want_from(pid, 0, comm, "USER", "3  62 79 65");
	}
	rec_stop();
	return (0);
}
