/*
 * Prints the records of a trace file, strictly: every field of the header and of the payload, one
 * record to a line. Anything that is not a whole, well formed KTR_VERSION1 record ends it with
 * status 1 and a message, and so does a record that is older than the previous one of its thread.
 *
 *	ktr_raw [-cklqz] [-d letters] [-m map] [-n number] [-p pid] [-t type] file
 *	-c	prints "pid TYPE count drops" for each process and type instead
 *	-d	data written, and data given to utrace(2), must consist of
 *		these letters
 *	-k	nothing may look like a kernel address, except for those that
 *		fuzz passes to the kernel
 *	-l	prints only the last record of each process
 *	-m	prints no ids, and nothing else that differs between two runs of
 *		the same calls; the map is that of differ
 *	-n	of SYSCALL and SYSRET, only those of this system call
 *	-p, -t	only records of this process, of this type (SYSCALL, ...)
 *	-q	prints nothing
 *	-z	for files of the module: bytes without information (padding,
 *		the rest after a string) must be zero, and the order of times
 *		has no exceptions
 *
 * Without -z, two kinds of records are left out of the order of times. The stock backend may give
 * them a time before that of the thread's previous record:
 *
 *	PROCCTOR	The thread that begins the trace takes the time, while the
 *			traced thread may already be making records.
 *	CSW, out	From FreeBSD 15.1 on, the kernel makes this record when the
 *			sleep is over. If the trace began during the sleep, the time
 *			is from before the trace, or stale stack contents.
 *
 * The last line, on standard error, is "records N drops N backwards N". It has the number of all
 * records, of those marked KTR_DROP, and of those older than the previous one in the file. Records
 * of a sleep that the kernel backdates do not count as backwards.
 */

#include <sys/event.h>
#include <sys/syscall.h>
#include <sys/tree.h>

#include <ctype.h>
#include <poll.h>
#include <stdio.h>

#include "fuzz.h"
#include "ktr.h"

#define PID_MAX 99999

/* What of the file is printed, and how. */
static enum { RECORDS, COUNTS, ENDS, MAPPED, NOTHING } output;
static const char *only_type;
static pid_t only_pid;
static int only_code = -1;
/* Further checks. */
static const char *letters;
static bool leaks, strict;

/* A process or thread. */
struct party {
	RB_ENTRY(party) entry;
	pid_t pid;
	long tid;
	struct timespec last;
	/* Its number in the map: of a process from 1 on, of each thread but its first one 1. */
	int number;
	/* Of a process, its records to be printed, and the offset of the last of them. */
	unsigned long all, records[NTYPES], drops[NTYPES];
	size_t end;
};

#include "party.h"

/* Checks of padding and strings. */

static void
check_zero(const struct record *r, const void *p, size_t len, const char *what)
{
	for (size_t i = 0; strict && i < len; i++)
		if (((const char *)p)[i] != 0)
			bad(r, what);
}

/* Checks a string in a field of fixed size, and the bytes after it. */
static void
check_string(const struct record *r, const char *field, size_t size, const char *what)
{
	size_t len = strnlen(field, size);

	if (len == size)
		bad(r, what);
	check_zero(r, field + len, size - len, what);
}

static void
check_letters(const struct record *r)
{
	for (size_t i = 0; letters != NULL && i < r->nmore; i++)
		if (r->more[i] == '\0' || strchr(letters, r->more[i]) == NULL)
			bad(r, "data that the process does not have");
}

static void
check_padding(const struct record *r)
{
#define AFTER(structure, member) (offsetof(structure, member) + sizeof(((structure *)0)->member))
	static const struct {
		int type;
		size_t from, to;
	} padding[] = {
	    {KTR_SYSCALL, AFTER(struct ktr_syscall, ktr_narg),
		offsetof(struct ktr_syscall, ktr_args)},
	    {KTR_PSIG, AFTER(struct ktr_psig, signo), offsetof(struct ktr_psig, action)},
	    {KTR_PSIG, AFTER(struct ktr_psig, mask), sizeof(struct ktr_psig)},
	    {KTR_CAPFAIL, AFTER(struct ktr_cap_fail, cap_code),
		offsetof(struct ktr_cap_fail, cap_svflags)},
	    {KTR_CAPFAIL, AFTER(struct ktr_cap_fail, cap_svflags),
		offsetof(struct ktr_cap_fail, cap_data)},
	    {KTR_FAULT, AFTER(struct ktr_fault, type), sizeof(struct ktr_fault)},
	};
	const size_t end = AFTER(struct ktr_header, ktr_cpu);

	check_zero(r, (const char *)&r->h + end, sizeof(r->h) - end, "padding of ktr_header");
	for (size_t i = 0; i < nitems(padding); i++)
		if (padding[i].type == r->type)
			check_zero(r, r->data + padding[i].from, padding[i].to - padding[i].from,
			    "padding");
}

/* Checks of structures that have a name. */

/* Returns the contents of a KTR_STRUCT or KTR_STRUCT_ARRAY, which follow its name. */
static const char *
contents(const struct record *r)
{
	const char *end = memchr(r->more, 0, r->nmore);

	if (end == NULL)
		bad(r, "name of structure");
	return (end + 1);
}

/* Checks the size of a structure that may have this name. */
static void
check_size(const struct record *r, size_t size)
{
	static const struct {
		int type;
		const char *name;
		size_t size;
	} known[] = {
	    {KTR_STRUCT, "stat", sizeof(struct stat)},
	    {KTR_STRUCT, "itimerval", sizeof(struct itimerval)},
	    {KTR_STRUCT, "caprights", sizeof(cap_rights_t)},
	    {KTR_STRUCT_ARRAY, "kevent", sizeof(struct kevent)},
	    {KTR_STRUCT_ARRAY, "freebsd11_kevent", 32},
	    {KTR_STRUCT_ARRAY, "pollfd", sizeof(struct pollfd)},
	};

	for (size_t i = 0; i < nitems(known); i++)
		if (r->type == known[i].type && strcmp(r->more, known[i].name) == 0 &&
		    size != known[i].size)
			bad(r, "size of structure");
}

static void
check_struct(const struct record *r)
{
	const char *data = contents(r);
	size_t size = r->more + r->nmore - data;

	check_size(r, size);
	if (strcmp(r->more, "sockaddr") == 0 && size != 0 && size != (unsigned char)data[0])
		bad(r, "length of address");
	if (strcmp(r->more, "cpuset_t") == 0 && size > sizeof(cpuset_t))
		bad(r, "length of cpuset_t");
}

static void
check_struct_array(const struct record *r)
{
	const char *data = contents(r);
	size_t size = r->as.array.struct_size;

	if (size == 0 || (r->more + r->nmore - data) % size != 0)
		bad(r, "not a whole number of structures");
	check_size(r, size);
}

/* Checks a violation of capability mode, of which only some of the data is used. */
static void
check_capfail(const struct record *r)
{
	const union ktr_cap_data *data = &r->as.cap.cap_data;
	size_t used = 0;

	switch (r->as.cap.cap_type) {
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
		used = MIN(data->cap_sockaddr.sa_len, sizeof(struct sockaddr));
		break;
	case CAPFAIL_NAMEI:
		used = strnlen(data->cap_path, MAXPATHLEN);
		if (used == MAXPATHLEN)
			bad(r, "cap_path");
		break;
	case CAPFAIL_CPUSET:
		break;
	default:
		bad(r, "cap_type");
	}
	check_zero(r, (const char *)data + used, sizeof(*data) - used, "rest of cap_data");
}

static void
check_payload(const struct record *r)
{
	switch (r->type) {
	case KTR_SYSCALL:
		if (r->as.call.ktr_narg < 0 || r->as.call.ktr_narg > 8 ||
		    r->nmore != r->as.call.ktr_narg * sizeof(register_t))
			bad(r, "ktr_narg");
		break;
	case KTR_SYSRET:
		if (strict && r->as.ret.ktr_eosys != 0)
			bad(r, "ktr_eosys");
		if (r->as.ret.ktr_error != 0 && r->as.ret.ktr_retval != 0)
			bad(r, "ktr_retval of a call that failed");
		break;
	case KTR_NAMEI:
		if (r->nmore >= MAXPATHLEN || memchr(r->more, 0, r->nmore) != NULL)
			bad(r, "path");
		break;
	case KTR_GENIO:
		if (r->as.io.ktr_rw == UIO_WRITE)
			check_letters(r);
		break;
	case KTR_CSW:
		check_string(r, r->as.csw.wmesg, sizeof(r->as.csw.wmesg), "wmesg");
		break;
	case KTR_USER:
		if (r->nmore > KTR_USER_MAXLEN)
			bad(r, "payload too long");
		check_letters(r);
		break;
	case KTR_STRUCT:
		check_struct(r);
		break;
	case KTR_SYSCTL:
		if (r->nmore == 0 || memchr(r->more, 0, r->nmore) != r->more + r->nmore - 1)
			bad(r, "name of sysctl");
		break;
	case KTR_CAPFAIL:
		check_capfail(r);
		break;
	case KTR_STRUCT_ARRAY:
		check_struct_array(r);
		break;
	case KTR_ARGS:
	case KTR_ENVS:
		if (r->nmore > 0 && r->more[r->nmore - 1] != '\0')
			bad(r, "strings");
		break;
	case KTR_EXTERR:
		check_zero(r, r->as.exterr.rsrv1, sizeof(r->as.exterr.rsrv1), "reserved words");
		check_string(r, r->as.exterr.msg, sizeof(r->as.exterr.msg), "msg");
		break;
	}
}

/* Checks for kernel addresses. */

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
check_leaks(const struct record *r, const void *p, size_t len, size_t step)
{
	uint64_t word;

	for (size_t i = 0; leaks && i + sizeof(word) <= len; i += step) {
		memcpy(&word, (const char *)p + i, sizeof(word));
		if (is_of_kernel(word) && !is_of_fuzz(word))
			errx(1, "record at byte %zu: %s: an address of the kernel, %#jx", r->offset,
			    types[r->type].name, (uintmax_t)word);
	}
}

/*
 * Checks an array of structures like check_leaks(). In a struct kevent, filter, flags and fflags of
 * the process together can look like an address.
 */
static void
check_array_leaks(const struct record *r)
{
	const size_t from = offsetof(struct kevent, filter), to = offsetof(struct kevent, data);
	const char *data = contents(r), *end = r->more + r->nmore;
	size_t size = r->as.array.struct_size;

	if (strcmp(r->more, "pollfd") == 0) {
		/* No field is as long as an address. */
		check_leaks(r, data, end - data, sizeof(struct pollfd));
		return;
	}
	if (strcmp(r->more, "kevent") != 0 && strcmp(r->more, "freebsd11_kevent") != 0) {
		check_leaks(r, data, end - data, 1);
		return;
	}
	for (; data < end; data += size) {
		check_leaks(r, data, from, 1);
		check_leaks(r, data + to, size - to, 1);
	}
}

static void
check_payload_leaks(const struct record *r)
{
	switch (r->type) {
	case KTR_SYSRET:
	case KTR_EXTERR:
		/* A call's return value, which its process knows, and the report of its error. */
		break;
	case KTR_SYSCALL:
	case KTR_PSIG:
	case KTR_CAPFAIL:
	case KTR_FAULT:
		check_leaks(r, r->data, r->h.ktr_len, sizeof(register_t));
		break;
	case KTR_STRUCT:
		/* The end of the name and the process's own data can look like an address. */
		check_leaks(r, contents(r), r->more + r->nmore - contents(r), 1);
		break;
	case KTR_STRUCT_ARRAY:
		check_array_leaks(r);
		break;
	default:
		check_leaks(r, r->data, r->h.ktr_len, 1);
	}
}

/* Checks of times. */

/*
 * Returns whether the record may be older than the previous one in its file.
 *
 * From FreeBSD 15.1 on, a thread records that it went to sleep after it has woken up, with the
 * earlier time.
 */
static bool
is_told_late(const struct record *r)
{
	return (r->type == KTR_CSW && r->as.csw.out != 0 && r->as.csw.user == 0 &&
		getosreldate() >= 1501000);
}

static void
check_time(const struct record *r)
{
	const struct timespec *time = &r->h.ktr_time;

	if (!strict && is_told_late(r))
		return;
	if (time->tv_sec <= 0 || time->tv_nsec < 0 || time->tv_nsec >= 1000000000)
		bad(r, "time");
	/* By words: the bytes across the two words of a time can look like an address. */
	check_leaks(r, &r->h, sizeof(r->h), sizeof(register_t));
	if (!strict && r->type == KTR_PROCCTOR)
		return;
	if (goes_back(party_of(r->h.ktr_pid, r->h.ktr_tid), r))
		bad(r, "older than the previous one of its thread");
}

/* For -m. */

static void
read_map(const char *name)
{
	FILE *f = fopen(name, "r");
	int number = 0;
	pid_t pid;
	long tid;

	if (f == NULL)
		err(2, "%s", name);
	while (fscanf(f, "%d %ld", &pid, &tid) == 2)
		party_of(pid, tid)->number = tid == 0 ? ++number : 1;
	fclose(f);
}

/*
 * Returns whether both backends write this record of the same calls. Of context switches and page
 * faults, the scheduler and the earlier use of memory decide; likewise, whether pthread_join(3) has
 * to wait. When ktrace(2), or a set-user-ID program, ends a trace, the stock backend discards the
 * queued violation of that call itself.
 */
static bool
is_steady(const struct record *r)
{
	switch (r->type) {
	case KTR_CSW:
	case KTR_FAULT:
	case KTR_FAULTEND:
		return (false);
	case KTR_CAPFAIL:
		return (r->as.cap.cap_code != SYS_ktrace && r->as.cap.cap_code != SYS_execve);
	case KTR_SYSCALL:
	case KTR_SYSRET:
		return (r->as.code != SYS__umtx_op);
	default:
		return (true);
	}
}

/*
 * Maps an argument of a system call, or with -1 its return value, if it is a process or thread id.
 */
static long
mapped_arg(int code, int i, long value)
{
	static const struct {
		int code, arg;
	} pids[] = {{SYS_fork, -1}, {SYS_vfork, -1}, {SYS_rfork, -1}, {SYS_getpid, -1},
	    {SYS_getppid, -1}, {SYS_wait4, -1}, {SYS_wait4, 0}, {SYS_kill, 0}, {SYS_ptrace, 1},
	    {SYS_ktrace, 3}, {SYS_setpgid, 1}, {SYS_procctl, 1}};
	int number;

	if (output != MAPPED)
		return (value);
	/* The id of the thread that a program starts with. */
	if (code == SYS_rtprio_thread && i == 1)
		return (0);
	for (size_t k = 0; k < nitems(pids); k++)
		if (pids[k].code == code && pids[k].arg == i && labs((int)value) <= PID_MAX) {
			number = party_of(labs((int)value), 0)->number;
			return ((int)value < 0 ? -number : number);
		}
	return (value);
}

/* Prints records. */

static uintmax_t
hash(const char *p, size_t len)
{
	/* FNV-1a. */
	uint64_t h = 0xcbf29ce484222325;

	while (len-- > 0)
		h = (h ^ (unsigned char)*p++) * 0x100000001b3;
	return (h);
}

static void
print_bytes(const char *label, const char *p, size_t len)
{
	printf(" %s=", label);
	if (output == MAPPED && len > 80) {
		printf("%#jx:", hash(p, len));
		len = 8;
	}
	for (size_t i = 0; i < len; i++)
		if (isgraph((unsigned char)p[i]) && p[i] != '\\')
			putchar(p[i]);
		else
			printf("\\%03o", (unsigned char)p[i]);
}

/* Prints what does not depend on the time and place of the file's creation. */
static void
print_stat(const char *p)
{
	struct stat sb;

	memcpy(&sb, p, sizeof(sb));
	printf(" stat mode=%o nlink=%ju uid=%d gid=%d size=%jd", sb.st_mode, (uintmax_t)sb.st_nlink,
	    sb.st_uid, sb.st_gid, S_ISREG(sb.st_mode) ? (intmax_t)sb.st_size : 0);
}

static void
print_call(const struct record *r)
{
	const struct ktr_syscall *call = &r->as.call;
	register_t arg;

	printf(" code=%d narg=%d args=", call->ktr_code, call->ktr_narg);
	for (int i = 0; i < call->ktr_narg; i++) {
		memcpy(&arg, r->more + i * sizeof(arg), sizeof(arg));
		printf("%s%#lx", i == 0 ? "" : ",", mapped_arg(call->ktr_code, i, arg));
	}
}

static void
print_payload(const struct record *r)
{
	const union payload *as = &r->as;

	switch (r->type) {
	case KTR_SYSCALL:
		print_call(r);
		break;
	case KTR_SYSRET:
		printf(" code=%d error=%d retval=%#lx", as->code, as->ret.ktr_error,
		    mapped_arg(as->code, -1, as->ret.ktr_retval));
		break;
	case KTR_GENIO:
		printf(" fd=%d rw=%d", as->io.ktr_fd, as->io.ktr_rw);
		print_bytes("data", r->more, r->nmore);
		break;
	case KTR_PSIG:
		printf(" signo=%d action=%#lx code=%d mask=%#x,%#x,%#x,%#x", as->sig.signo,
		    (long)as->sig.action, as->sig.code, as->sig.mask.__bits[0],
		    as->sig.mask.__bits[1], as->sig.mask.__bits[2], as->sig.mask.__bits[3]);
		break;
	case KTR_CSW:
		printf(" out=%d user=%d wmesg=%s", as->csw.out, as->csw.user, as->csw.wmesg);
		break;
	case KTR_PROCCTOR:
		printf(" sv_flags=%#x", as->ctor.sv_flags);
		break;
	case KTR_PROCDTOR:
		break;
	case KTR_CAPFAIL:
		printf(" cap_type=%d cap_code=%d cap_svflags=%#x", as->cap.cap_type,
		    as->cap.cap_code, as->cap.cap_svflags);
		break;
	case KTR_FAULT:
		printf(" vaddr=%#lx access=%d", (long)as->fault.vaddr, as->fault.type);
		break;
	case KTR_FAULTEND:
		printf(" result=%d", as->end.result);
		break;
	case KTR_STRUCT_ARRAY:
		printf(" struct_size=%zu", as->array.struct_size);
		print_bytes("data", r->more, r->nmore);
		break;
	case KTR_EXTERR:
		printf(" error=%u cat=%u line=%u", as->exterr.error, as->exterr.cat,
		    as->exterr.src_line);
		print_bytes("msg", as->exterr.msg, strlen(as->exterr.msg));
		break;
	case KTR_STRUCT:
		if (output == MAPPED && strcmp(r->more, "stat") == 0) {
			print_stat(contents(r));
			break;
		}
		/* FALLTHROUGH */
	default:
		print_bytes("data", r->more, r->nmore);
	}
}

static void
print_record(const struct record *r)
{
	const struct ktr_header *h = &r->h;
	int number = party_of(h->ktr_pid, 0)->number;

	if (output == MAPPED && number == 0)
		bad(r, "process that is not in the map");
	if (output == MAPPED)
		printf("P%d.%d %s %s len=%d drop=%d", number,
		    party_of(h->ktr_pid, h->ktr_tid)->number, h->ktr_comm, types[r->type].name,
		    h->ktr_len, r->drop);
	else
		printf("%s pid=%d tid=%ld cpu=%d comm=%s time=%jd.%09ld len=%d drop=%d",
		    types[r->type].name, h->ktr_pid, h->ktr_tid, h->ktr_cpu, h->ktr_comm,
		    (intmax_t)h->ktr_time.tv_sec, h->ktr_time.tv_nsec, h->ktr_len, r->drop);
	print_payload(r);
	putchar('\n');
}

/* Prints the numbers of records, or the last record, of each process. */
static void
print_processes(void)
{
	struct record r;
	struct party *p;

	RB_FOREACH(p, parties, &parties) {
		for (size_t type = 1; output == COUNTS && type < NTYPES; type++)
			if (p->records[type] != 0)
				printf("%d %s %lu %lu\n", p->pid, types[type].name,
				    p->records[type], p->drops[type]);
		if (output == ENDS && p->all != 0 && record_at(p->end, &r))
			print_record(&r);
	}
}

/* Returns whether the record is among those to be printed. */
static bool
is_wanted(const struct record *r)
{
	if (only_pid != 0 && r->h.ktr_pid != only_pid)
		return (false);
	if (only_type != NULL && strcmp(only_type, types[r->type].name) != 0)
		return (false);
	return (only_code < 0 || (r->type != KTR_SYSCALL && r->type != KTR_SYSRET) ||
		r->as.code == only_code);
}

static void
take(const struct record *r)
{
	struct party *p = party_of(r->h.ktr_pid, 0);

	p->all++;
	p->records[r->type]++;
	p->drops[r->type] += r->drop;
	p->end = r->offset;
	if (output == RECORDS || (output == MAPPED && is_steady(r)))
		print_record(r);
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
	unsigned long total = 0, dropped = 0, backwards = 0;
	struct timespec last = {0, 0};
	struct record r = {0};
	int ch;

	while ((ch = getopt(argc, argv, "cd:klm:n:p:qt:z")) != -1)
		switch (ch) {
		case 'c':
			output = COUNTS;
			break;
		case 'd':
			letters = optarg;
			break;
		case 'k':
			leaks = true;
			break;
		case 'l':
			output = ENDS;
			break;
		case 'm':
			output = MAPPED;
			read_map(optarg);
			break;
		case 'n':
			only_code = atoi(optarg);
			break;
		case 'p':
			only_pid = atoi(optarg);
			break;
		case 'q':
			output = NOTHING;
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
	read_trace(argv[optind]);
	while (next_record(&r)) {
		check_padding(&r);
		check_payload(&r);
		check_payload_leaks(&r);
		check_time(&r);
		total++;
		dropped += r.drop;
		if (!is_told_late(&r)) {
			backwards += timespeccmp(&r.h.ktr_time, &last, <);
			last = r.h.ktr_time;
		}
		if (is_wanted(&r))
			take(&r);
	}
	print_processes();
	fflush(stdout);
	fprintf(stderr, "records %lu drops %lu backwards %lu\n", total, dropped, backwards);
	return (0);
}
