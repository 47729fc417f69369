/*
 * KTR_SYSCTL: the name of every requested MIB, by number or by name, with the further numbers of a
 * node.
 */

#include <sys/sysctl.h>

#include "rec.h"

int
main(void)
{
	int mib[4] = {CTL_KERN, KERN_OSTYPE}, by_pid[4] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, 1};
	int none[2] = {CTL_KERN, 99999};
	char buf[4096];
	size_t len;

	rec_start(KTRFAC_SYSCTL);

	len = sizeof(buf);
	sysctl(mib, 2, buf, &len, NULL, 0);
	rec_want("SCTL", "\"kern.ostype\"");
	len = sizeof(buf);
	sysctl(by_pid, 4, buf, &len, NULL, 0);
	rec_want("SCTL", "\"kern.proc.pid.1\"");
	len = sizeof(buf);
	sysctlbyname("kern.hz_does_not_exist", buf, &len, NULL, 0);
	len = sizeof(buf);
	sysctl(none, 2, buf, &len, NULL, 0);
	rec_want("SCTL", "\"kern.99999\"");
	len = sizeof(buf);
	sysctlbyname("vm.stats.vm.v_page_size", buf, &len, NULL, 0);
	rec_want("SCTL", "\"vm.stats.vm.v_page_size\"");

	rec_stop();
	return (0);
}
