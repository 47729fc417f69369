/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/module.h
 *
 * DECLARE_MODULE() would make the linker refuse a kernel older than the
 * headers, or of another major release, with a message that does not say so.
 * The module therefore accepts any kernel here, and checks the release itself
 * before it does anything else.
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/module.h>

#include "shims.h"

#ifndef KTRACE_RS_NAME
#define KTRACE_RS_NAME ktrace_rs
#endif

moduledata_t ktrace_rs_module = {__XSTRING(KTRACE_RS_NAME), ktrace_rs_modevent, NULL};

MODULE_DEPEND(ktrace_rs, kernel, 1, __FreeBSD_version, __INT_MAX__);
MODULE_VERSION(KTRACE_RS_NAME, 1);
MODULE_METADATA(_md_ktrace_rs, MDT_MODULE, &ktrace_rs_module, __XSTRING(KTRACE_RS_NAME));
/*
 * If loader(8) has loaded the module, it initialises after init(8) has its
 * process id, which the helper must not take, and before init(8) runs.
 */
SYSINIT(ktrace_rs, SI_SUB_SYSCALLS, SI_ORDER_ANY, module_register_init, &ktrace_rs_module);
