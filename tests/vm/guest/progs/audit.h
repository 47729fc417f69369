/*
 * What crowd(the program that makes a load) and ktr_audit(the one that looks
 * for it in the trace file) have agreed on.
 */

#ifndef AUDIT_H
#define AUDIT_H

#include <stdint.h>

/*
 * What a thread gives to utrace(2), or writes and reads, begins with this. Each
 * thread counts its own steps of each kind from zero, and the signals that it
 * has taken when it makes the step.
 */
struct step {
	char magic[8];
	uint64_t number;
	uint64_t signals;
};
#define STEP_MAGIC "ktrstep"

/* Memory that is touched page after page, for its faults, starts here. */
#define FRESH_PAGES ((uintptr_t)1 << 44)
/* It ends before here. */
#define FRESH_END (FRESH_PAGES + (1 << 30))

#endif
