/*
 * Definitions shared by crowd, the program that makes a load, and ktr_audit, which checks the trace
 * file of it.
 */

#ifndef AUDIT_H
#define AUDIT_H

#include <stdint.h>

/*
 * Header of data that a thread gives to utrace(2), or writes and reads.
 *
 * Each thread counts its own steps of each kind from zero, and the signals that it had taken at the
 * time of the step.
 */
struct step {
	char magic[8];
	uint64_t number;
	uint64_t signals;
};
#define STEP_MAGIC "ktrstep"

/* Start of memory that is touched page by page, for its faults. */
#define FRESH_PAGES ((uintptr_t)1 << 44)
/* End of that memory. */
#define FRESH_END (FRESH_PAGES + (1 << 30))

#endif
