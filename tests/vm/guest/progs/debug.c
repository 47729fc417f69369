/*
 * A debugger that uses ptrace(2).
 *
 *	debug run PROGRAM [ARGUMENT...]	runs it from one entry or return of a system call to the
 *					next, and prints the number of entries of each system call
 *	debug steps PID N		attaches, takes N such steps, detaches
 *	debug hold PID			attaches, prints a line, detaches when standard input ends
 *	debug kill PID			attaches, and kills it
 */

#include <sys/param.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exceeds the number of system calls of any release. */
#define CALLS 1024

static unsigned long entries[CALLS];

/* Waits until the process stops. Returns false if it has ended. */
static int
stopped(pid_t pid, int *status)
{
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			err(1, "waitpid");
	return (WIFSTOPPED(*status));
}

static void
note_entry(pid_t pid)
{
	struct ptrace_lwpinfo info;

	if (ptrace(PT_LWPINFO, pid, (caddr_t)&info, sizeof(info)) != 0)
		err(1, "PT_LWPINFO");
	if ((info.pl_flags & PL_FLAG_SCE) != 0 && info.pl_syscall_code < CALLS)
		entries[info.pl_syscall_code]++;
}

/* Returns the signal to continue with: the one that stopped it, unless it was the debugger's. */
static int
signal_of(int status)
{
	int signo = WSTOPSIG(status);

	return (signo == SIGTRAP || signo == SIGSTOP ? 0 : signo);
}

static void
attach(pid_t pid)
{
	int status;

	if (ptrace(PT_ATTACH, pid, NULL, 0) != 0)
		err(1, "PT_ATTACH");
	if (!stopped(pid, &status))
		errx(1, "it has ended");
}

int
main(int argc, char *argv[])
{
	int status, steps;
	pid_t pid;
	char c;

	if (argc < 3)
		errx(2, "see the head of debug.c");
	if (strcmp(argv[1], "run") == 0) {
		if ((pid = fork()) == 0) {
			if (ptrace(PT_TRACE_ME, 0, NULL, 0) != 0)
				err(1, "PT_TRACE_ME");
			execv(argv[2], argv + 2);
			err(1, "%s", argv[2]);
		}
		while (stopped(pid, &status)) {
			note_entry(pid);
			if (ptrace(PT_SYSCALL, pid, (caddr_t)1, signal_of(status)) != 0)
				err(1, "PT_SYSCALL");
		}
		for (int i = 0; i < CALLS; i++)
			if (entries[i] != 0)
				printf("%d %lu\n", i, entries[i]);
		return (WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}

	pid = atoi(argv[2]);
	attach(pid);
	if (strcmp(argv[1], "steps") == 0 && argc == 4) {
		for (steps = atoi(argv[3]); steps > 0; steps--) {
			if (ptrace(PT_SYSCALL, pid, (caddr_t)1, 0) != 0)
				err(1, "PT_SYSCALL");
			if (!stopped(pid, &status))
				errx(1, "it has ended");
		}
	} else if (strcmp(argv[1], "hold") == 0) {
		puts("held");
		fflush(stdout);
		while (read(STDIN_FILENO, &c, 1) > 0)
			continue;
	} else if (strcmp(argv[1], "kill") == 0) {
		if (ptrace(PT_KILL, pid, NULL, 0) != 0)
			err(1, "PT_KILL");
		/* FreeBSD 15.1 may lose that signal under either backend. */
		(void)kill(pid, SIGKILL);
		while (stopped(pid, &status))
			continue;
		return (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : 1);
	} else
		errx(2, "see the head of debug.c");
	if (ptrace(PT_DETACH, pid, (caddr_t)1, 0) != 0)
		err(1, "PT_DETACH");
	return (0);
}
