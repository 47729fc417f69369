/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Where arm64 has the fields that the module touches and that other machines
 * have elsewhere, whatever the release.  The same numbers stand in arm64.rs.
 */

SIZE(pcb, 1248);
FIELD(pcb, pcb_x, 0);
FIELD(pcb, pcb_sp, 96);

SIZE(pcpu, 512);
FIELD(pcpu, pc_zpcpu_offset, 176);
