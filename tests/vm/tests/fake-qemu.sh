#!/bin/sh
# Stands in for QEMU and the guest: boots, takes the login, and answers requests as
# guest/run.sh does. What a test does depends on its name alone.

for arg; do
	case $arg in
	*cache=unsafe,file=*results.tar)
				results=${arg#*file=} ;;
	*cache=unsafe,file=*kept.img)
				kept=${arg#*file=} ;;
	*cache=unsafe,file=*root.qcow2)
				root=${arg#*file=} ;;
	file:*)			live=${arg#file:} ;;
	file,id=live,path=*)	live=${arg#file,id=live,path=} ;;
	esac
done

say() {
	printf '\r\n@@KT:%s@@\r\n' "$1" "$1"
}

log() {
	dir=$(mktemp -d)
	mkdir "$dir/$name"
	echo "$1" >"$dir/$name/log"
	case $name in
	*-part-ok) echo "some program" >"$dir/$name/left_out" ;;
	esac
	[ -z "${2-}" ] || echo "$2" >"$dir/$name/figures"
	tar -cf "$results" -C "$dir" "$name"
	rm -r "$dir"
}

end() {
	log "${3-log of $name}"
	last=end:$name:$1:${2:--}
	say "$last"
}

reversal() {
	echo "lock order reversal:"
	echo " 1st 0xfffff80003c7a068 $1 ($1, lockmgr) @ vfs.c:1"
	echo " 2nd 0xfffffe0005d41b78 $2 ($2, sleep mutex) @ vfs.c:2"
	echo "#0 0xffffffff80c4f6ad at witness_checkorder+0x46d"
	echo "#1 0xffffffff82001234 at commit+0x1c"
}

reboots() {
	echo "All buffers synced."
	echo "Uptime: 31s"
	echo "Rebooting..."
	exit
}

# panics LINE: dies with it on a machine that has not had a panic yet.
panics() {
	if [ "$(head -c 4 "$kept")" = once ]; then
		end 0 - "panics before: ${rest#* }"
	else
		printf once | dd of="$kept" conv=notrunc 2>/dev/null
		echo "$1"
		exit
	fi
}

# boots: reboots on a machine whose root file system has not seen that yet.
boots() {
	echo "ktrace_rs: version 0.1.0 traces from now on"
	if [ "$(tail -c 4 "$root")" = once ]; then
		end 0 - "boots before: ${rest#* }"
	else
		printf once >>"$root"
		reboots
	fi
}

debugger() {
	while read -r command; do
		printf 'the debugger on %s\ndb> ' "$command"
	done
}

run() {
	last=
	say "begin:$name"
	case $name in
	*reset-boots)	exit ;;
	*panic-boots)	echo "panic: boom"; reboots ;;
	*hang-boots)	: ;;
	*lor-boots)	say module:ffffffff82000000:3000; reversal vnode stream; boots ;;
	*log-boots)	echo "ktrace write failed, errno 5, tracing stopped for pid 7"; boots ;;
	*never-boots)	end 0 ;;
	*boots)		boots ;;
	*always-panics)	echo "panic: kdb_sysctl_panic"; exit ;;
	*lor-panics)	say module:ffffffff82000000:3000; reversal vnode stream; panics "panic: kdb_sysctl_panic" ;;
	*trap-panics)	echo "Fatal trap 12: page fault"; panics "panic: kdb_sysctl_panic" ;;
	*boom-panics)	panics "panic: boom" ;;
	*never-panics)	end 0 ;;
	*panics)	panics "panic: kdb_sysctl_panic" ;;
	*ok)		end 0 ;;
	*load)		log "a load" 1000,900,1000,4096,2; last=end:$name:0:-; say "$last" ;;
	*skip)		end 77 - "why it is skipped" ;;
	*fail)		end 3 ;;
	*late)		end 124 ;;
	*traced)	end 0 traced ;;
	*stuck)		end 0 module,stuck ;;
	*unread)	last=end:$name:0:-; say "$last" ;;
	*lost)		log lost; last=end:$name:0:-; printf '@@KT:end:%s:kernel message\n0:-@@\n' "$name" ;;
	*panic)		echo "step one" >>"$live"; echo "panic: boom"; echo "cpuid = 0"; exit ;;
	*ddb)		echo "panic: boom"; echo "KDB: enter: panic"; printf 'db> '; debugger ;;
	*dies-later)	end 0; sleep 0.3; echo "panic: late"; exit ;;
	*off)		exit ;;
	*hang)		: ;;
	*stock-lor)	reversal ufs bufwait; end 0 ;;
	*module)	say module:ffffffff82000000:3000; end 0 ;;
	*our-lor)	reversal vnode stream; end 0 ;;
	_exec)		end 5 - "output of the command" ;;
	esac
}

if [ "${FAKE_QEMU-}" = broken ]; then
	echo "Could not open disk" >&2
	exit 1
fi
printf 'Booting...\r\n---<<BOOT>>---\r\nFreeBSD/amd64 (fake) (ttyu0)\r\n\r\nlogin: '
read -r user
[ "$user" = root ] || exit 1
if [ "${FAKE_QEMU-}" = password ]; then
	printf 'Password:'
	read -r password
	[ -z "$password" ] || exit 1
elif [ "${FAKE_QEMU-}" = refuses ]; then
	printf 'Login incorrect\r\nlogin: '
	read -r user
fi
printf 'root@fake:~ # '
while read -r line; do
	case $line in
	*vtbd1*)	break ;;
	esac
done
if [ "${FAKE_QEMU-}" = unfit ]; then
	say broken:no_module_for_14-amd64
fi
say ready:14.2-FAKE:amd64:GENERIC:plain
while read -r verb name rest; do
	case $verb in
	run)	run ;;
	again)	[ -z "$last" ] || say "$last" ;;
	shell)	read -r line; echo "shell got: $line"; say bye ;;
	esac
done
