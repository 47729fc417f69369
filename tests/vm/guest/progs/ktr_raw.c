/*
 * Prints the records of a trace file, strictly: every field of the header and of the payload, one
 * record to a line. Anything that is not a whole, well formed KTR_VERSION1 record ends it with
 * status 1 and a message.
 *
 *	ktr_raw [-cklqz] [-d letters] [-m map] [-n number] [-p pid] [-t type] file
 *	-c	prints "pid TYPE count drops" for each process and type instead
 *	-d	data written, and data given to utrace(2), must consist of
 *		these letters
 *	-k	nothing may look like a kernel address, except for those that
 *		fuzz passes to the kernel
 *	-l	prints only the last record of each process
 *	-m	prints the records thread by thread, and without what differs
 *		between two runs of the same calls; the map is that of differ
 *	-n	of SYSCALL and SYSRET, only those of this system call
 *	-p, -t	only records of this process, of this type (SYSCALL, ...)
 *	-q	prints nothing
 *	-z	bytes without information (padding, the rest after a string)
 *		must be zero, and no record may be older than the previous
 *		one of its thread
 *
 * The last line, on standard error, is "records N drops N backwards N backwards-in-thread N". It
 * has the number of all records, of those marked KTR_DROP, and of those older than the previous one
 * in the file and in the thread. Records that the kernel backdates do not count as backwards in the
 * file.
 */

#include <sys/param.h>
#include <sys/cpuset.h>
#include <sys/event.h>
#include <sys/ktrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <ctype.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "kinds.h"

struct thread {
	long tid;
	struct timespec last;
	struct thread *next;
};

struct count {
	pid_t pid;
	unsigned long records[NTYPES], drops[NTYPES];
	size_t last;
	struct count *next, *later;
};

/* Hash tables by the lowest bits of the ids. Processes are also listed in order of appearance. */
#define NBUCKETS 4096
static struct thread *threads[NBUCKETS];
static struct count *counts[NBUCKETS], *first, **behind_last = &first;
/* Offset of the current record, and its type. */
static size_t offset;
static const char *kind;
static bool counting, ending, leaks, quiet, strict;
static const char *letters;

static void
bad(const char *what)
{
	errx(1, "record at byte %zu: %s: %s", offset, kind, what);
}

static void *
entry(size_t size)
{
	void *p;

	if ((p = calloc(1, size)) == NULL)
		err(2, "calloc");
	return (p);
}

static struct thread *
thread_of(long tid)
{
	struct thread **bucket = &threads[tid % NBUCKETS], *t;

	for (t = *bucket; t != NULL; t = t->next)
		if (t->tid == tid)
			return (t);
	t = entry(sizeof(*t));
	t->tid = tid;
	t->next = *bucket;
	return (*bucket = t);
}

static struct count *
count_of(pid_t pid)
{
	struct count **bucket = &counts[pid % NBUCKETS], *c;

	for (c = *bucket; c != NULL; c = c->next)
		if (c->pid == pid)
			return (c);
	c = entry(sizeof(*c));
	c->pid = pid;
	c->next = *bucket;
	*behind_last = c;
	behind_last = &c->later;
	return (*bucket = c);
}

static void
check_zero(const void *p, size_t len, const char *what)
{
	for (size_t i = 0; strict && i < len; i++)
		if (((const char *)p)[i] != 0)
			bad(what);
}

/* Checks the bytes after the string in a field of fixed size. */
static void
check_string(const char *field, size_t size, const char *what)
{
	size_t len = strnlen(field, size);

	if (len == size)
		bad(what);
	check_zero(field + len, size - len, what);
}

static void
check_len(int len, size_t want)
{
	if ((size_t)len != want)
		bad("payload of the wrong length");
}

static bool
is_of_fuzz(uint64_t word)
{
	for (size_t i = 0; i < nitems(fuzz_kernel); i++)
		if (word == fuzz_kernel[i])
			return (true);
	return (false);
}

/*
 * Returns whether the word is in the direct map, up to the memory of a test machine, or in the
 * kernel's data, text or modules.
 */
static bool
is_of_kernel(uint64_t word)
{
#ifdef __aarch64__
	/* Lower values are not text. */
	return ((word >= 0xffff000000000800 && word < 0xffff008000000000) ||
	    (word >= 0xffffa00000000000 && word < 0xffffa10000000000));
#else
	return ((word >= 0xfffff80000000000 && word < 0xfffffc0000000000) ||
	    (word >= 0xfffffe0000000000 && word < 0xffffff0000000000) ||
	    (word >= 0xffffffff80000000 && word < 0xffffffffc0000000));
#endif
}

/*
 * Fails for a kernel address that fuzz has not passed.
 *
 * An address may lie at any byte offset. Across two words, however, parts of two addresses of the
 * process can look like one of the kernel.
 */
static void
check_leaks(const char *p, size_t len, size_t step)
{
	uint64_t word;

	for (size_t i = 0; leaks && i + sizeof(word) <= len; i += step) {
		memcpy(&word, p + i, sizeof(word));
		if (is_of_kernel(word) && !is_of_fuzz(word))
			errx(1, "record at byte %zu: %s: an address of the kernel, %#jx",
			    offset, kind, (uintmax_t)word);
	}
}

/*
 * Checks an array of structures like check_leaks(). In a struct kevent, filter, flags and fflags of
 * the process together can look like an address.
 */
static void
check_array_leaks(const char *p, size_t len)
{
	const size_t from = offsetof(struct kevent, filter), to = offsetof(struct kevent, data);
	const char *name, *data, *end = p + len;
	size_t size;

	if (len <= sizeof(size) ||
	    (data = memchr(p + sizeof(size), 0, len - sizeof(size))) == NULL)
		return;
	data++;
	memcpy(&size, p, sizeof(size));
	name = p + sizeof(size);
	if (strcmp(name, "pollfd") == 0) {
		/* No field is as long as an address. */
		check_leaks(data, end - data, sizeof(struct pollfd));
		return;
	}
	if (size < to ||
	    (strcmp(name, "kevent") != 0 && strcmp(name, "freebsd11_kevent") != 0)) {
		check_leaks(data, end - data, 1);
		return;
	}
	for (; (size_t)(end - data) >= size; data += size) {
		check_leaks(data, from, 1);
		check_leaks(data + to, size - to, 1);
	}
}

static void
check_letters(const char *p, size_t len)
{
	for (size_t i = 0; letters != NULL && i < len; i++)
		if (p[i] == '\0' || strchr(letters, p[i]) == NULL)
			bad("data that the process does not have");
}

static void
check_struct(const char *p, int len)
{
	static const struct {
		const char *name;
		size_t size;
	} known[] = {
	    {"stat", sizeof(struct stat)},
	    {"itimerval", sizeof(struct itimerval)},
	    {"caprights", sizeof(cap_rights_t)},
	};
	const char *data = memchr(p, 0, len);
	size_t size;

	if (data == NULL)
		bad("name of structure");
	size = p + len - ++data;
	for (size_t i = 0; i < nitems(known); i++)
		if (strcmp(p, known[i].name) == 0 && size != known[i].size)
			bad("length of structure");
	if (strcmp(p, "sockaddr") == 0 && size != 0 &&
	    size != (unsigned char)data[0])
		bad("length of address");
	if (strcmp(p, "cpuset_t") == 0 && size > sizeof(cpuset_t))
		bad("length of cpuset_t");
}

static void
check_struct_array(const char *name, size_t size)
{
	static const struct {
		const char *name;
		size_t size;
	} known[] = {
	    {"kevent", sizeof(struct kevent)},
	    {"freebsd11_kevent", 32},
	    {"pollfd", sizeof(struct pollfd)},
	};

	for (size_t i = 0; i < nitems(known); i++)
		if (strcmp(name, known[i].name) == 0 && size != known[i].size)
			bad("size of structure");
}

#define PID_MAX 99999
/* For -m: the numbers of processes, from 1 on, and the threads other than the first ones. */
static int numbers[PID_MAX + 1];
static struct {
	pid_t pid;
	long tid;
} *second;
static size_t nseconds;
static bool mapping;

/* The records to print then, and their processes and threads. */
static struct sorted {
	int process, thread;
	size_t offset;
} *sorted;
static size_t nsorted;

static void *
grow(void *p, size_t n, size_t size)
{
	/* Double at each power of two. */
	if ((n & (n - 1)) == 0 && (p = realloc(p, 2 * MAX(n, 1) * size)) == NULL)
		err(2, "realloc");
	return (p);
}

static void
read_map(const char *name)
{
	FILE *f = fopen(name, "r");
	int number = 0;
	pid_t pid;
	long tid;

	if (f == NULL)
		err(2, "%s", name);
	while (fscanf(f, "%d %ld", &pid, &tid) == 2) {
		if (pid <= 0 || pid > PID_MAX)
			errx(2, "%s: pid %d", name, pid);
		if (tid == 0) {
			numbers[pid] = ++number;
			continue;
		}
		second = grow(second, nseconds, sizeof(*second));
		second[nseconds].pid = pid;
		second[nseconds++].tid = tid;
	}
	fclose(f);
	mapping = true;
}

static bool
is_second(pid_t pid, long tid)
{
	for (size_t i = 0; i < nseconds; i++)
		if (second[i].pid == pid && second[i].tid == tid)
			return (true);
	return (false);
}

/*
 * Maps an argument of a system call, or with -1 its return value, if it is a process or thread id.
 */
static long
mapped_arg(int code, int i, long value)
{
	static const struct {
		int code, arg;
	} pids[] = {{SYS_fork, -1}, {SYS_vfork, -1}, {SYS_rfork, -1},
	    {SYS_getpid, -1}, {SYS_getppid, -1}, {SYS_wait4, -1},
	    {SYS_wait4, 0}, {SYS_kill, 0}, {SYS_ptrace, 1}, {SYS_ktrace, 3},
	    {SYS_setpgid, 1}, {SYS_procctl, 1}};

	if (!mapping)
		return (value);
	/* The id of the thread that a program starts with. */
	if (code == SYS_rtprio_thread && i == 1)
		return (0);
	for (size_t k = 0; k < nitems(pids); k++)
		if (pids[k].code == code && pids[k].arg == i && labs((int)value) <= PID_MAX)
			return ((int)value < 0 ? -numbers[-(int)value] : numbers[value]);
	return (value);
}

/*
 * Returns whether both backends write this record of the same calls. Of context switches and page
 * faults, the scheduler and the earlier use of memory decide; likewise, whether pthread_join(3) has
 * to wait. When ktrace(2), or a set-user-ID program, ends a trace, the stock backend discards the
 * queued violation of that call itself.
 */
static bool
is_steady(int type, const char *payload)
{
	struct ktr_cap_fail c;
	short code;

	switch (type) {
	case KTR_CSW:
	case KTR_FAULT:
	case KTR_FAULTEND:
		return (false);
	case KTR_CAPFAIL:
		memcpy(&c, payload, sizeof(c));
		return (c.cap_code != SYS_ktrace && c.cap_code != SYS_execve);
	case KTR_SYSCALL:
	case KTR_SYSRET:
		/* Both payloads begin with the code. */
		memcpy(&code, payload, sizeof(code));
		return (code != SYS__umtx_op);
	default:
		return (true);
	}
}

static void
sort_in(const struct ktr_header *h)
{
	sorted = grow(sorted, nsorted, sizeof(*sorted));
	if (h->ktr_pid > PID_MAX || numbers[h->ktr_pid] == 0)
		bad("process that is not in the map");
	sorted[nsorted].process = numbers[h->ktr_pid];
	sorted[nsorted].thread = is_second(h->ktr_pid, h->ktr_tid);
	sorted[nsorted++].offset = offset;
}

static int
by_thread(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->process != y->process)
		return (x->process < y->process ? -1 : 1);
	if (x->thread != y->thread)
		return (x->thread < y->thread ? -1 : 1);
	return (x->offset < y->offset ? -1 : x->offset > y->offset);
}

static uintmax_t
hash(const char *p, size_t len)
{
	/* FNV-1a. */
	uint64_t h = 0xcbf29ce484222325;

	while (len-- > 0)
		h = (h ^ (unsigned char)*p++) * 0x100000001b3;
	return (h);
}

/* Prints what does not depend on the time and place of the file's creation. */
static void
print_stat(const char *p)
{
	struct stat sb;

	memcpy(&sb, p, sizeof(sb));
	printf(" stat mode=%o nlink=%ju uid=%d gid=%d size=%jd", sb.st_mode,
	    (uintmax_t)sb.st_nlink, sb.st_uid, sb.st_gid,
	    S_ISREG(sb.st_mode) ? (intmax_t)sb.st_size : 0);
}

static void
print_bytes(const char *label, const char *p, size_t len)
{
	printf(" %s=", label);
	if (mapping && len > 80) {
		printf("%#jx:", hash(p, len));
		len = 8;
	}
	for (size_t i = 0; i < len; i++)
		if (isgraph((unsigned char)p[i]) && p[i] != '\\')
			putchar(p[i]);
		else
			printf("\\%03o", (unsigned char)p[i]);
}

static void
check_payload(int type, const char *p, int len)
{
	bool words = type == KTR_SYSCALL || type == KTR_PSIG ||
	    type == KTR_FAULT || type == KTR_CAPFAIL;
	const char *data;

	/*
	 * Not for a call's return value, which its process knows, nor for the report of its error.
	 */
	if (type == KTR_STRUCT_ARRAY)
		check_array_leaks(p, len);
	else if (type == KTR_STRUCT && (data = memchr(p, 0, len)) != NULL)
		/* The end of the name and the process's own data can look like an address. */
		check_leaks(data + 1, p + len - (data + 1), 1);
	else if (type != KTR_SYSRET && type != KTR_EXTERR)
		check_leaks(p, len, words ? sizeof(register_t) : 1);
	switch (type) {
	case KTR_SYSCALL: {
		struct ktr_syscall s;

		if ((size_t)len < offsetof(struct ktr_syscall, ktr_args))
			bad("payload too short");
		memcpy(&s, p, offsetof(struct ktr_syscall, ktr_args));
		check_len(len, offsetof(struct ktr_syscall, ktr_args) +
				   s.ktr_narg * sizeof(register_t));
		check_zero(p + 4, 4, "padding of ktr_syscall");
		if (s.ktr_narg < 0 || s.ktr_narg > 8)
			bad("ktr_narg");
		break;
	}
	case KTR_SYSRET: {
		struct ktr_sysret r;

		check_len(len, sizeof(r));
		memcpy(&r, p, sizeof(r));
		if (strict && r.ktr_eosys != 0)
			bad("ktr_eosys");
		if (r.ktr_error != 0 && r.ktr_retval != 0)
			bad("ktr_retval of a call that failed");
		break;
	}
	case KTR_NAMEI:
		if (len >= MAXPATHLEN || memchr(p, 0, len) != NULL)
			bad("path");
		break;
	case KTR_GENIO:
		if ((size_t)len < sizeof(struct ktr_genio))
			bad("payload too short");
		if (p[offsetof(struct ktr_genio, ktr_rw)] == UIO_WRITE)
			check_letters(p + sizeof(struct ktr_genio),
			    len - sizeof(struct ktr_genio));
		break;
	case KTR_PSIG:
		check_len(len, sizeof(struct ktr_psig));
		check_zero(p + offsetof(struct ktr_psig, signo) + sizeof(int),
		    offsetof(struct ktr_psig, action) - sizeof(int),
		    "padding of ktr_psig");
		check_zero(
		    p + offsetof(struct ktr_psig, mask) + sizeof(sigset_t),
		    len - offsetof(struct ktr_psig, mask) - sizeof(sigset_t),
		    "padding of ktr_psig");
		break;
	case KTR_CSW:
		check_len(len, sizeof(struct ktr_csw));
		check_string(p + offsetof(struct ktr_csw, wmesg),
		    sizeof(((struct ktr_csw *)0)->wmesg), "wmesg");
		break;
	case KTR_USER:
		if (len > KTR_USER_MAXLEN)
			bad("payload too long");
		check_letters(p, len);
		break;
	case KTR_STRUCT:
		check_struct(p, len);
		break;
	case KTR_SYSCTL:
		if (len == 0 || memchr(p, 0, len) != p + len - 1)
			bad("name of sysctl");
		break;
	case KTR_PROCCTOR:
		check_len(len, sizeof(struct ktr_proc_ctor));
		break;
	case KTR_PROCDTOR:
		check_len(len, 0);
		break;
	case KTR_CAPFAIL: {
		struct ktr_cap_fail c;
		size_t used = 0;

		check_len(len, sizeof(c));
		memcpy(&c, p, sizeof(c));
		check_zero(
		    p + offsetof(struct ktr_cap_fail, cap_code) + sizeof(short),
		    offsetof(struct ktr_cap_fail, cap_svflags) -
			offsetof(struct ktr_cap_fail, cap_code) - sizeof(short),
		    "padding of ktr_cap_fail");
		check_zero(p + offsetof(struct ktr_cap_fail, cap_svflags) +
			       sizeof(u_int),
		    offsetof(struct ktr_cap_fail, cap_data) -
			offsetof(struct ktr_cap_fail, cap_svflags) -
			sizeof(u_int),
		    "padding of ktr_cap_fail");
		switch (c.cap_type) {
		case CAPFAIL_NOTCAPABLE:
		case CAPFAIL_INCREASE:
			used = 2 * sizeof(cap_rights_t);
			break;
		case CAPFAIL_SYSCALL:
		case CAPFAIL_SIGNAL:
		case CAPFAIL_PROTO:
			used = sizeof(int);
			break;
		case CAPFAIL_SOCKADDR:
			used = MIN(c.cap_data.cap_sockaddr.sa_len,
			    sizeof(struct sockaddr));
			break;
		case CAPFAIL_NAMEI:
			used = strnlen(c.cap_data.cap_path, MAXPATHLEN);
			if (used == MAXPATHLEN)
				bad("cap_path");
			break;
		case CAPFAIL_CPUSET:
			break;
		default:
			bad("cap_type");
		}
		check_zero((char *)&c.cap_data + used,
		    sizeof(c.cap_data) - used, "rest of cap_data");
		break;
	}
	case KTR_FAULT:
		check_len(len, sizeof(struct ktr_fault));
		check_zero(p + offsetof(struct ktr_fault, type) + sizeof(int),
		    sizeof(struct ktr_fault) -
			offsetof(struct ktr_fault, type) - sizeof(int),
		    "padding of ktr_fault");
		break;
	case KTR_FAULTEND:
		check_len(len, sizeof(struct ktr_faultend));
		break;
	case KTR_STRUCT_ARRAY: {
		const char *end;
		size_t size;

		if ((size_t)len <= sizeof(size))
			bad("payload too short");
		memcpy(&size, p, sizeof(size));
		if ((end = memchr(p + sizeof(size), 0, len - sizeof(size))) ==
		    NULL)
			bad("name of structure");
		if (size == 0 || (p + len - (end + 1)) % size != 0)
			bad("not a whole number of structures");
		check_struct_array(p + sizeof(size), size);
		break;
	}
	case KTR_ARGS:
	case KTR_ENVS:
		if (len > 0 && p[len - 1] != '\0')
			bad("strings");
		break;
	case KTR_EXTERR: {
		struct exterr e;

		check_len(len, sizeof(e));
		memcpy(&e, p, sizeof(e));
		check_zero(e.rsrv1, sizeof(e.rsrv1), "reserved words");
		check_string(e.msg, sizeof(e.msg), "msg");
		break;
	}
	}
}

static void
print_payload(int type, const char *p, int len)
{
	struct ktr_proc_ctor ctor;
	struct ktr_cap_fail cap;
	struct ktr_faultend end;
	struct ktr_syscall call;
	struct ktr_sysret ret;
	struct ktr_genio io;
	struct ktr_fault fault;
	struct ktr_psig sig;
	struct ktr_csw csw;
	struct exterr exterr;
	register_t arg;
	size_t size;

	switch (type) {
	case KTR_SYSCALL:
		memcpy(&call, p, offsetof(struct ktr_syscall, ktr_args));
		printf(" code=%d narg=%d args=", call.ktr_code, call.ktr_narg);
		for (int i = 0; i < call.ktr_narg; i++) {
			memcpy(&arg,
			    p + offsetof(struct ktr_syscall, ktr_args) +
				i * sizeof(arg),
			    sizeof(arg));
			printf("%s%#lx", i == 0 ? "" : ",",
			    mapped_arg(call.ktr_code, i, arg));
		}
		break;
	case KTR_SYSRET:
		memcpy(&ret, p, sizeof(ret));
		printf(" code=%d error=%d retval=%#lx", ret.ktr_code,
		    ret.ktr_error, mapped_arg(ret.ktr_code, -1, ret.ktr_retval));
		break;
	case KTR_GENIO:
		memcpy(&io, p, sizeof(io));
		printf(" fd=%d rw=%d", io.ktr_fd, io.ktr_rw);
		print_bytes("data", p + sizeof(io), len - sizeof(io));
		break;
	case KTR_PSIG:
		memcpy(&sig, p, sizeof(sig));
		printf(" signo=%d action=%#lx code=%d mask=%#x,%#x,%#x,%#x",
		    sig.signo, (long)sig.action, sig.code, sig.mask.__bits[0],
		    sig.mask.__bits[1], sig.mask.__bits[2], sig.mask.__bits[3]);
		break;
	case KTR_CSW:
		memcpy(&csw, p, sizeof(csw));
		printf(
		    " out=%d user=%d wmesg=%s", csw.out, csw.user, csw.wmesg);
		break;
	case KTR_PROCCTOR:
		memcpy(&ctor, p, sizeof(ctor));
		printf(" sv_flags=%#x", ctor.sv_flags);
		break;
	case KTR_CAPFAIL:
		memcpy(&cap, p, sizeof(cap));
		printf(" cap_type=%d cap_code=%d cap_svflags=%#x", cap.cap_type,
		    cap.cap_code, cap.cap_svflags);
		break;
	case KTR_FAULT:
		memcpy(&fault, p, sizeof(fault));
		printf(" vaddr=%#lx access=%d", (long)fault.vaddr, fault.type);
		break;
	case KTR_FAULTEND:
		memcpy(&end, p, sizeof(end));
		printf(" result=%d", end.result);
		break;
	case KTR_STRUCT_ARRAY:
		memcpy(&size, p, sizeof(size));
		printf(" struct_size=%zu", size);
		print_bytes("data", p + sizeof(size), len - sizeof(size));
		break;
	case KTR_EXTERR:
		memcpy(&exterr, p, sizeof(exterr));
		printf(" error=%u cat=%u line=%u", exterr.error, exterr.cat,
		    exterr.src_line);
		print_bytes("msg", exterr.msg, strlen(exterr.msg));
		break;
	case KTR_NAMEI:
	case KTR_USER:
	case KTR_STRUCT:
		if (mapping && strcmp(p, "stat") == 0) {
			print_stat(p + sizeof("stat"));
			break;
		}
		/* FALLTHROUGH */
	case KTR_SYSCTL:
	case KTR_ARGS:
	case KTR_ENVS:
		print_bytes("data", p, len);
		break;
	}
}

static void
print_record(const char *record)
{
	struct ktr_header h;
	int type;

	memcpy(&h, record, sizeof(h));
	type = (unsigned short)h.ktr_type & ~KTR_TYPE;
	printf("%s pid=%d tid=%ld cpu=%d comm=%s time=%jd.%09ld len=%d drop=%d",
	    names[type], h.ktr_pid, h.ktr_tid, h.ktr_cpu, h.ktr_comm,
	    (intmax_t)h.ktr_time.tv_sec, h.ktr_time.tv_nsec, h.ktr_len,
	    (h.ktr_type & KTR_DROP) != 0);
	print_payload(type, record + sizeof(h), h.ktr_len);
	putchar('\n');
}

static void
print_sorted(const char *data)
{
	struct ktr_header h;
	int type;

	qsort(sorted, nsorted, sizeof(*sorted), by_thread);
	for (size_t i = 0; i < nsorted; i++) {
		memcpy(&h, data + sorted[i].offset, sizeof(h));
		type = (unsigned short)h.ktr_type & ~KTR_TYPE;
		printf("P%d.%d %s %s len=%d drop=%d", sorted[i].process,
		    sorted[i].thread, h.ktr_comm, names[type], h.ktr_len,
		    (h.ktr_type & KTR_DROP) != 0);
		print_payload(type, data + sorted[i].offset + sizeof(h), h.ktr_len);
		putchar('\n');
	}
}

static void
usage(void)
{
	errx(2, "usage: ktr_raw [-cklqz] [-d letters] [-m map] [-n number] "
		"[-p pid] [-t type] file");
}

int
main(int argc, char *argv[])
{
	unsigned long total = 0, dropped = 0, backwards = 0,
		      thread_backwards = 0;
	struct timespec last = {0, 0};
	const char *only_type = NULL;
	struct ktr_header h;
	struct thread *t;
	struct count *c;
	struct stat sb;
	pid_t only_pid = 0;
	short code, only_code = -1;
	char *data;
	bool drop, late;
	int ch, fd, type;

	while ((ch = getopt(argc, argv, "cd:klm:n:p:qt:z")) != -1)
		switch (ch) {
		case 'c':
			counting = true;
			break;
		case 'd':
			letters = optarg;
			break;
		case 'k':
			leaks = true;
			break;
		case 'l':
			ending = true;
			break;
		case 'm':
			read_map(optarg);
			break;
		case 'n':
			only_code = atoi(optarg);
			break;
		case 'p':
			only_pid = atoi(optarg);
			break;
		case 'q':
			quiet = true;
			break;
		case 't':
			only_type = optarg;
			break;
		case 'z':
			strict = true;
			break;
		default:
			usage();
		}
	if (argc != optind + 1)
		usage();
	if ((fd = open(argv[optind], O_RDONLY)) < 0 || fstat(fd, &sb) != 0)
		err(2, "%s", argv[optind]);
	if ((data = malloc(sb.st_size + 1)) == NULL)
		err(2, "malloc");
	if (read(fd, data, sb.st_size) != sb.st_size)
		err(2, "read %s", argv[optind]);

	for (offset = 0; offset < (size_t)sb.st_size;
	    offset += sizeof(h) + h.ktr_len) {
		kind = "of no type";
		if (sb.st_size - offset < sizeof(h))
			bad("header cut off");
		memcpy(&h, data + offset, sizeof(h));
		if ((h.ktr_type & KTR_VERSIONED) == 0 ||
		    h.ktr_version != KTR_VERSION1)
			bad("not KTR_VERSION1");
		drop = (h.ktr_type & KTR_DROP) != 0;
		type = (unsigned short)h.ktr_type & ~KTR_TYPE;
		if (!is_known(type))
			bad("unknown type");
		kind = names[type];
		if (h.ktr_len < 0 ||
		    (size_t)h.ktr_len > sb.st_size - offset - sizeof(h))
			bad("payload cut off");
		if (h.ktr_pid <= 0 || h.ktr_tid <= 0 || h.ktr_cpu < 0 ||
		    h.ktr_cpu >= CPU_SETSIZE)
			bad("pid, tid or CPU");
		if (strnlen(h.ktr_comm, sizeof(h.ktr_comm)) ==
		    sizeof(h.ktr_comm))
			bad("ktr_comm");
		check_zero((char *)&h + offsetof(struct ktr_header, ktr_cpu) +
			       sizeof(int),
		    sizeof(h) - offsetof(struct ktr_header, ktr_cpu) -
			sizeof(int),
		    "padding of ktr_header");
		check_payload(type, data + offset + sizeof(h), h.ktr_len);
		late = is_told_late(type, data + offset + sizeof(h));
		/*
		 * If tracing began during the sleep, the stock backend of 15.1 writes stale stack
		 * contents as the time.
		 */
		if (strict || !late) {
			if (h.ktr_time.tv_sec <= 0 || h.ktr_time.tv_nsec < 0 ||
			    h.ktr_time.tv_nsec >= 1000000000)
				bad("time");
			/*
			 * Check by words: the bytes across the two words of a time can look like an
			 * address.
			 */
			check_leaks((char *)&h, sizeof(h), sizeof(register_t));
		}

		total++;
		dropped += drop;
		if (!late) {
			backwards += timespeccmp(&h.ktr_time, &last, <);
			last = h.ktr_time;
		}
		t = thread_of(h.ktr_tid);
		if (timespeccmp(&h.ktr_time, &t->last, <)) {
			thread_backwards++;
			if (strict)
				bad("older than the one before in its thread");
		}
		t->last = h.ktr_time;
		if ((only_pid != 0 && h.ktr_pid != only_pid) ||
		    (only_type != NULL && strcmp(only_type, names[type]) != 0))
			continue;
		if (only_code >= 0 &&
		    (type == KTR_SYSCALL || type == KTR_SYSRET)) {
			/* Both payloads begin with the code. */
			memcpy(&code, data + offset + sizeof(h), sizeof(code));
			if (code != only_code)
				continue;
		}
		c = count_of(h.ktr_pid);
		c->records[type]++;
		c->drops[type] += drop;
		c->last = offset;
		if (mapping && is_steady(type, data + offset + sizeof(h)))
			sort_in(&h);
		else if (!mapping && !quiet && !counting && !ending)
			print_record(data + offset);
	}
	for (c = first; ending && c != NULL; c = c->later)
		print_record(data + c->last);
	for (c = first; counting && c != NULL; c = c->later)
		for (type = 1; type < NTYPES; type++)
			if (c->records[type] != 0)
				printf("%d %s %lu %lu\n", c->pid, names[type],
				    c->records[type], c->drops[type]);
	print_sorted(data);
	fflush(stdout);
	fprintf(stderr,
	    "records %lu drops %lu backwards %lu backwards-in-thread %lu\n",
	    total, dropped, backwards, thread_backwards);
	return (0);
}
