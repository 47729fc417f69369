/*
 * Reads a trace file record by record. The record types do not depend on the release that these
 * programs are built for.
 *
 * The program ends with status 1 and a message at anything that is not a whole KTR_VERSION1 record:
 * a type that the running kernel does not have, impossible ids, or a payload too short or too long
 * for its type.
 */

#ifndef KTR_H
#define KTR_H

#include <sys/param.h>
#include <sys/cpuset.h>
#include <sys/ktrace.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Types that FreeBSD 15 adds. */
#ifndef KTR_ARGS
#define KTR_ARGS 16
#define KTR_ENVS 17
#define KTR_EXTERR 18
#endif

/* The payload of KTR_EXTERR. */
struct exterr {
	uint32_t ver, error, cat, src_line, flags, rsrv0;
	uint64_t p1, p2, rsrv1[4];
	char msg[128];
};

/* The record types: name, length of the structure, and whether data follows it. */
static const struct {
	const char *name;
	size_t len;
	bool more;
} types[] = {
    {"of no type", 0, true},
    [KTR_SYSCALL] = {"SYSCALL", offsetof(struct ktr_syscall, ktr_args), true},
    [KTR_SYSRET] = {"SYSRET", sizeof(struct ktr_sysret), false},
    [KTR_NAMEI] = {"NAMEI", 0, true},
    [KTR_GENIO] = {"GENIO", sizeof(struct ktr_genio), true},
    [KTR_PSIG] = {"PSIG", sizeof(struct ktr_psig), false},
    [KTR_CSW] = {"CSW", sizeof(struct ktr_csw), false},
    [KTR_USER] = {"USER", 0, true},
    [KTR_STRUCT] = {"STRUCT", 0, true},
    [KTR_SYSCTL] = {"SYSCTL", 0, true},
    [KTR_PROCCTOR] = {"PROCCTOR", sizeof(struct ktr_proc_ctor), false},
    [KTR_PROCDTOR] = {"PROCDTOR", 0, false},
    [KTR_CAPFAIL] = {"CAPFAIL", sizeof(struct ktr_cap_fail), false},
    [KTR_FAULT] = {"FAULT", sizeof(struct ktr_fault), false},
    [KTR_FAULTEND] = {"FAULTEND", sizeof(struct ktr_faultend), false},
    [KTR_STRUCT_ARRAY] = {"STRUCT_ARRAY", sizeof(struct ktr_struct_array), true},
    [KTR_ARGS] = {"ARGS", 0, true},
    [KTR_ENVS] = {"ENVS", 0, true},
    [KTR_EXTERR] = {"EXTERR", sizeof(struct exterr), false},
};
#define NTYPES nitems(types)

/* The structure at the start of a payload. */
union payload {
	/* Of KTR_SYSCALL and KTR_SYSRET. */
	short code;
	struct ktr_syscall call;
	struct ktr_sysret ret;
	struct ktr_genio io;
	struct ktr_psig sig;
	struct ktr_csw csw;
	struct ktr_proc_ctor ctor;
	struct ktr_cap_fail cap;
	struct ktr_fault fault;
	struct ktr_faultend end;
	struct ktr_struct_array array;
	struct exterr exterr;
};

struct record {
	/* Offsets in the file, of the record and of the next one. */
	size_t offset, next;
	struct ktr_header h;
	/* ktr_type without its flags, and whether KTR_DROP is set. */
	int type;
	bool drop;
	/* The whole payload, of h.ktr_len bytes, its structure, and the data after that. */
	const char *data;
	union payload as;
	const char *more;
	size_t nmore;
};

/* The contents of the file. */
static char *trace;
static size_t trace_size;

static inline void
read_trace(const char *name)
{
	struct stat sb;
	int fd;

	if ((fd = open(name, O_RDONLY)) < 0 || fstat(fd, &sb) != 0)
		err(2, "%s", name);
	trace_size = sb.st_size;
	if ((trace = malloc(trace_size + 1)) == NULL)
		err(2, "malloc");
	if (read(fd, trace, trace_size) != sb.st_size)
		err(2, "read %s", name);
	close(fd);
}

static inline void __dead2
bad(const struct record *r, const char *what)
{
	errx(1, "record at byte %zu: %s: %s", r->offset, types[r->type].name, what);
}

/* Gets the record that begins at the offset. Returns false at the end of the file. */
static inline bool
record_at(size_t offset, struct record *r)
{
	struct ktr_header *h = &r->h;
	const int last = getosreldate() < 1500000 ? KTR_STRUCT_ARRAY : KTR_EXTERR;
	size_t left = trace_size - offset, len;
	int type;

	r->offset = offset;
	r->type = 0;
	if (left == 0)
		return (false);
	if (left < sizeof(*h))
		bad(r, "cut off");
	memcpy(h, trace + offset, sizeof(*h));
	type = (unsigned short)h->ktr_type & ~KTR_TYPE;
	if ((h->ktr_type & KTR_VERSIONED) == 0 || h->ktr_version != KTR_VERSION1)
		bad(r, "not KTR_VERSION1");
	if (type < 1 || type > last)
		bad(r, "unknown type");
	r->type = type;
	r->drop = (h->ktr_type & KTR_DROP) != 0;
	if (h->ktr_len < 0 || (size_t)h->ktr_len > left - sizeof(*h))
		bad(r, "cut off");
	if (h->ktr_pid <= 0 || h->ktr_tid <= 0 || h->ktr_cpu < 0 || h->ktr_cpu >= CPU_SETSIZE)
		bad(r, "pid, tid or CPU");
	if (strnlen(h->ktr_comm, sizeof(h->ktr_comm)) == sizeof(h->ktr_comm))
		bad(r, "ktr_comm");

	len = types[type].len;
	if ((size_t)h->ktr_len < len || (!types[type].more && (size_t)h->ktr_len > len))
		bad(r, "payload of the wrong length");
	r->data = trace + offset + sizeof(*h);
	memcpy(&r->as, r->data, len);
	r->more = r->data + len;
	r->nmore = h->ktr_len - len;
	r->next = offset + sizeof(*h) + h->ktr_len;
	return (true);
}

/* Gets the record after this one. If this one is all zeros, that is the first one. */
static inline bool
next_record(struct record *r)
{
	return (record_at(r->next, r));
}

#endif
