/*
 * The processes and threads of a trace file. A program defines before this
 *
 *	struct party {
 *		RB_ENTRY(party) entry;
 *		pid_t pid;
 *		long tid;		the thread, or 0 for the process
 *		struct timespec last;	the time of its last record
 *		...
 *	};
 */

#ifndef PARTY_H
#define PARTY_H

#include <sys/time.h>
#include <sys/tree.h>

#include "ktr.h"

static inline int
by_ids(const struct party *a, const struct party *b)
{
	if (a->pid != b->pid)
		return (a->pid < b->pid ? -1 : 1);
	return (a->tid < b->tid ? -1 : a->tid > b->tid);
}

static RB_HEAD(parties, party) parties = RB_INITIALIZER(&parties);
RB_GENERATE_STATIC(parties, party, entry, by_ids)

/* Returns the party with these ids. If there is none yet, it has no more than them. */
static inline struct party *
party_of(pid_t pid, long tid)
{
	struct party key = {.pid = pid, .tid = tid}, *p;

	if ((p = RB_FIND(parties, &parties, &key)) != NULL)
		return (p);
	if ((p = malloc(sizeof(*p))) == NULL)
		err(2, "malloc");
	*p = key;
	RB_INSERT(parties, &parties, p);
	return (p);
}

/* Notes the time of the thread's next record. Returns whether the previous one is newer. */
static inline bool
goes_back(struct party *thread, const struct record *r)
{
	bool back = timespeccmp(&r->h.ktr_time, &thread->last, <);

	thread->last = r->h.ktr_time;
	return (back);
}

#endif
