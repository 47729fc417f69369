/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Where amd64 has the fields that the module touches and that other machines
 * have elsewhere, whatever the release.  The same numbers stand in amd64.rs.
 */

SIZE(pcb, 320);
FIELD(pcb, pcb_rbp, 32);
FIELD(pcb, pcb_rsp, 40);

SIZE(pcpu, 4096);
