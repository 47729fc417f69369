/*
 * Makes one system call, and prints its outcome: "ok" or the name of the errno.
 *
 *	ktr_call [-u uid] ktrace FILE OPS FACS PID
 *		FILE: a path, NULL, or EFAULT for an unmapped address
 *	ktr_call utrace LENGTH [ADDRESS]
 *	ktr_call procctl PID COMMAND
 *		PROC_TRACE_CTL with COMMAND
 *	ktr_call state PID
 *		prints ki_tracep and ki_traceflag, as ps(1) and others get them
 *	ktr_call [-u uid] exec PROGRAM [ARGUMENT...]
 *		runs PROGRAM as that user instead
 *
 * Numbers are decimal, hexadecimal or octal. OPS also takes set, clear, clearfile, FACS takes all.
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/procctl.h>
#include <sys/sysctl.h>
#include <sys/user.h>

#include <err.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char bytes[64 * 1024];

static const char *
name(int error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
	    {EACCES, "EACCES"},
	    {EBUSY, "EBUSY"},
	    {EFAULT, "EFAULT"},
	    {EINVAL, "EINVAL"},
	    {EIO, "EIO"},
	    {EISDIR, "EISDIR"},
	    {ELOOP, "ELOOP"},
	    {EMLINK, "EMLINK"},
	    {ENAMETOOLONG, "ENAMETOOLONG"},
	    {ENOENT, "ENOENT"},
	    {ENOMEM, "ENOMEM"},
	    {ENOSYS, "ENOSYS"},
	    {ENOTDIR, "ENOTDIR"},
	    {ENXIO, "ENXIO"},
	    {EOPNOTSUPP, "EOPNOTSUPP"},
	    {EPERM, "EPERM"},
	    {EROFS, "EROFS"},
	    {ESRCH, "ESRCH"},
	    {ETXTBSY, "ETXTBSY"},
	};
	static char number[16];

	for (size_t i = 0; i < nitems(names); i++)
		if (names[i].error == error)
			return (names[i].name);
	snprintf(number, sizeof(number), "errno %d", error);
	return (number);
}

static long
number(const char *s)
{
	char *end;
	long n = strtol(s, &end, 0);

	if (*s == '\0' || *end != '\0')
		errx(2, "%s: not a number", s);
	return (n);
}

int
main(int argc, char *argv[])
{
	const char *what;
	int ch, result;

	while ((ch = getopt(argc, argv, "+u:")) != -1) {
		uid_t uid;

		if (ch != 'u')
			errx(2, "see the head of ktr_call.c");
		uid = number(optarg);
		if (setgroups(0, NULL) != 0 || setgid(uid) != 0 || setuid(uid) != 0)
			err(2, "uid %d", uid);
	}
	argc -= optind;
	argv += optind;
	what = argc > 0 ? argv[0] : "";

	if (strcmp(what, "exec") == 0 && argc > 1) {
		execv(argv[1], argv + 1);
		err(2, "%s", argv[1]);
	}
	if (strcmp(what, "state") == 0 && argc == 2) {
		int mib[4] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, (int)number(argv[1])};
		struct kinfo_proc kp;
		size_t len = sizeof(kp);

		if (sysctl(mib, nitems(mib), &kp, &len, NULL, 0) != 0 || len != sizeof(kp))
			err(2, "kern.proc.pid.%s", argv[1]);
		printf("%p %#x\n", (void *)kp.ki_tracep, (unsigned int)kp.ki_traceflag);
		return (0);
	}
	if (strcmp(what, "ktrace") == 0 && argc == 5) {
		const char *file = strcmp(argv[1], "NULL") == 0	    ? NULL
				   : strcmp(argv[1], "EFAULT") == 0 ? (char *)1
								    : argv[1];
		int ops = strcmp(argv[2], "set") == 0	      ? KTROP_SET
			  : strcmp(argv[2], "clear") == 0     ? KTROP_CLEAR
			  : strcmp(argv[2], "clearfile") == 0 ? KTROP_CLEARFILE
							      : (int)number(argv[2]);
		int facs = strcmp(argv[3], "all") == 0 ? KTRFAC_MASK | KTRFAC_INHERIT
						       : (int)number(argv[3]);

		result = ktrace(file, ops, facs, number(argv[4]));
	} else if (strcmp(what, "utrace") == 0 && argc == 2)
		result = utrace(bytes, number(argv[1]));
	else if (strcmp(what, "utrace") == 0 && argc == 3)
		result = utrace((void *)number(argv[2]), number(argv[1]));
	else if (strcmp(what, "procctl") == 0 && argc == 3) {
		int command = number(argv[2]);

		result = procctl(P_PID, number(argv[1]), PROC_TRACE_CTL, &command);
	} else
		errx(2, "see the head of ktr_call.c");
	puts(result == 0 ? "ok" : name(errno));
	return (0);
}
