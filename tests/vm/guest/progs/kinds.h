/*
 * The record types, independent of the release that these programs are built for.
 */

#ifndef KINDS_H
#define KINDS_H

#include <sys/types.h>
#include <sys/ktrace.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* Types that FreeBSD 15 adds. */
#ifndef KTR_ARGS
#define KTR_ARGS 16
#define KTR_ENVS 17
#define KTR_EXTERR 18
#endif
#define NTYPES 19

static const char *const names[NTYPES] = {
    [KTR_SYSCALL] = "SYSCALL",
    [KTR_SYSRET] = "SYSRET",
    [KTR_NAMEI] = "NAMEI",
    [KTR_GENIO] = "GENIO",
    [KTR_PSIG] = "PSIG",
    [KTR_CSW] = "CSW",
    [KTR_USER] = "USER",
    [KTR_STRUCT] = "STRUCT",
    [KTR_SYSCTL] = "SYSCTL",
    [KTR_PROCCTOR] = "PROCCTOR",
    [KTR_PROCDTOR] = "PROCDTOR",
    [KTR_CAPFAIL] = "CAPFAIL",
    [KTR_FAULT] = "FAULT",
    [KTR_FAULTEND] = "FAULTEND",
    [KTR_STRUCT_ARRAY] = "STRUCT_ARRAY",
    [KTR_ARGS] = "ARGS",
    [KTR_ENVS] = "ENVS",
    [KTR_EXTERR] = "EXTERR",
};

/* The payload of KTR_EXTERR. */
struct exterr {
	uint32_t ver, error, cat, src_line, flags, rsrv0;
	uint64_t p1, p2, rsrv1[4];
	char msg[128];
};

/* Returns whether the running kernel makes records of the type. */
static inline bool
is_known(int type)
{
	return (type >= 1 &&
	    type <= (getosreldate() < 1500000 ? KTR_STRUCT_ARRAY : KTR_EXTERR));
}

/*
 * Returns whether the record may be older than the one before it in its file.
 *
 * From FreeBSD 15.1 on, a thread records that it went to sleep after it has woken up, with the
 * earlier time.
 */
static inline bool
is_told_late(int type, const char *payload)
{
	struct ktr_csw csw;

	if (type != KTR_CSW || getosreldate() < 1501000)
		return (false);
	memcpy(&csw, payload, sizeof(csw));
	return (csw.out != 0 && csw.user == 0);
}

#endif
