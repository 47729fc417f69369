/*
 * KTR_PSIG: signal, action, mask and code of every signal that is taken: by a handler, by its
 * default action, by sigwait(2), and raised by a trap.
 */

#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <signal.h>
#include <ucontext.h>

#include "rec.h"

static void
on_signal(int sig)
{
	(void)sig;
}

/* Continues after the breakpoint: on arm64 the program counter still points at it. */
static void
on_trap(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
#ifdef __aarch64__
	((ucontext_t *)context)->uc_mcontext.mc_gpregs.gp_elr += 4;
#else
	(void)context;
#endif
}

static void
breakpoint(void)
{
#ifdef __aarch64__
	__asm__ volatile("brk #0");
#else
	__asm__ volatile("int3");
#endif
}

/* Bypasses the C library, which would install a handler of its own before this one. */
static void catch (int sig)
{
	struct sigaction sa = {.sa_handler = on_signal};

	if (sig == SIGTRAP) {
		sa.sa_sigaction = on_trap;
		sa.sa_flags = SA_SIGINFO;
	}
	if (syscall(SYS_sigaction, (long)sig, &sa, NULL) != 0)
		err(2, "sigaction");
}

int
main(void)
{
	struct itimerval it = {.it_value = {0, 10000}};
	union sigval value = {.sival_int = 7};
	sigset_t set, old;
	char comm[MAXCOMLEN + 1];
	int sig, status;
	pid_t pid;

	catch (SIGUSR1);
	catch (SIGUSR2);
	catch (SIGALRM);
	catch (SIGTRAP);
	strlcpy(comm, getprogname(), sizeof(comm));
	rec_start(KTRFAC_PSIG | KTRFAC_INHERIT);

	kill(getpid(), SIGUSR1);
	rec_want("PSIG", "SIGUSR1 caught handler=%#lx mask=0x0 code=SI_USER", (long)on_signal);

	/* The mask at that time, with SIGHUP and SIGTERM blocked. */
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old);
	sigqueue(getpid(), SIGUSR2, value);
	rec_want("PSIG", "SIGUSR2 caught handler=%#lx mask=%#x code=SI_QUEUE", (long)on_signal,
	    1 << (SIGHUP - 1) | 1 << (SIGTERM - 1));
	/* Taken by sigwait(2). */
	kill(getpid(), SIGTERM);
	sigwait(&set, &sig);
	rec_want("PSIG", "SIGTERM SIG_DFL code=SI_USER");
	sigprocmask(SIG_SETMASK, &old, NULL);

	/* The mask that sigsuspend(2) restores, not the one that it waits with. */
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, &old);
	setitimer(ITIMER_REAL, &it, NULL);
	sigsuspend(&old);
	sigprocmask(SIG_SETMASK, &old, NULL);
	rec_want("PSIG", "SIGALRM caught handler=%#lx mask=%#x code=SI_KERNEL", (long)on_signal,
	    1 << (SIGALRM - 1));

	breakpoint();
	rec_want("PSIG", "SIGTRAP caught handler=%#lx mask=0x0 code=TRAP_BRKPT", (long)on_trap);

	/* Ignored signals are not taken. */
	signal(SIGUSR1, SIG_IGN);
	kill(getpid(), SIGUSR1);

	/* Death of a child by default action; its parent ignores SIGCHLD by default. */
	if ((pid = fork()) == 0) {
		kill(getpid(), SIGTERM);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status))
		errx(2, "child not killed");
	/* A process of one thread, whose thread id is not known here, see records.sh. */
	rec_want_from(pid, 0, comm, "PSIG", "SIGTERM SIG_DFL code=SI_USER");

	rec_stop();
	return (0);
}
