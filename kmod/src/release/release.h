/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The release that the headers are of.
 */

#if __FreeBSD_version >= 1500000
#include "freebsd15.h"
#else
#include "freebsd14.h"
#endif
