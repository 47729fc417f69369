#!/bin/sh
# Shows that kdump prints the same for ordinary commands traced by the stock backend and by the
# module.
#
# Process ids, file numbers and times are normalised. The events of a command with several processes
# may depend on which of them runs first. If the backends differ, both trace such a command some more
# times, and the module's trace must then equal one of the stock backend's.
# timeout: 200
# full timeout: 400
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"

# One command per line. Each runs in a directory of its own with a few files. A ~ marks those with
# processes that run at the same time.
cat >all <<'END'
ls -l /
ls -lR .
cat /etc/passwd
~ sh -c 'cat text | grep line | wc -l'
sh -c 'for i in 1 2 3; do echo $i; done >out; read x <out; echo $x'
sh -c 'trap "echo caught" USR1; kill -USR1 $$; echo done'
~ sh -c '(exit 3); echo $?'
find . -name '*e*'
awk '{ n += NF } END { print n }' text
sort -r text
sed -n 's/line/LINE/p' text
grep -n three text
head -2 text
tail -2 text
wc text
cut -c 1-3 text
uniq text
cp text copy
mv text moved
rm text
mkdir -p new/dir
rmdir empty
ln text twin
ln -s text sym
touch touched
chmod 600 text
stat -f %z text
du -a .
df /dev
mount
env A=b printenv A
id
date -r 0
dd if=text of=dd.out bs=16 status=none
tar -cf archive.tar text sub
gzip -c text
cksum text
diff text same
expr 6 '*' 7
sysctl kern.ostype hw.pagesize
uname -a
hostname
true
sleep 0.01
~ timeout 10 true
~ xargs -n 1 echo
tr a-z A-Z
env -i PATH=/bin sh -c 'echo $PATH'
END

# In make check only a third of them run: each is traced twice.
awk -v step="$(scaled 3 1)" 'NR % step == 1 % step' all >commands

mkdir -p files/sub/deep files/empty
printf 'first line\nsecond line\nthree\n' | tee files/text files/same >files/sub/deep/file
find files -exec touch -t 202001010000 {} +

# trace COMMAND: prints the command's normalised records. Each run finds the same files.
trace() {
	rm -rf work out
	cp -Rp files work
	(cd work && eval "ktrace -i -t cniysut+ -f ../out $1" <../input >/dev/null 2>&1)
	kdump -A -f out | normalise
}

# trace_all NAME: traces every command, and writes its records to NAME.N.
trace_all() {
	n=0
	while read -r line; do
		n=$((n + 1))
		trace "${line#~ }" >"$1.$n"
		raw -q out
	done <commands
}

# Print one process after the other, sorted by their records, because chance decides which of two
# children is seen first. Process ids, in the first column and in calls that take them, become P. In
# struct stat, values that depend on the time and place of a file's creation are removed.
normalise() {
	awk '
	    /^ *[0-9]+ [^ ]+ +[A-Z]+ +[FU][0-9][0-9] / {
		if (!($1 in seen)) { seen[$1] = ++processes }
		at = seen[$1]
		sub(/^ *[0-9]+/, "P")
		if ($5 ~ /^(fork|vfork|rfork|pdfork|getpid|getppid|getpgrp|getpgid|getsid|wait4|wait6|kill|setpgid|thr_self|procctl)/)
			gsub(/[0-9]+\/0x[0-9a-f]+/, "P")
		if ($3 == "CALL" && $5 ~ /^(kill|wait4|wait6|setpgid|getpgid|procctl)\(/)
			gsub(/0x[0-9a-f]+/, "P")
		if ($5 ~ /^rtprio_thread\(/)
			sub(/,0x[0-9a-f]+/, ",P")
		gsub(/ (dev|ino|atime|mtime|ctime|birthtime|blocks|size|rdev)=[0-9.]+/, " -")
	    }
	    { text[at] = text[at] $0 "\n" }
	    END {
		for (i = 2; i <= processes; i++) {
			moved = text[i]
			for (j = i - 1; j >= 1 && text[j] > moved; j--)
				text[j + 1] = text[j]
			text[j + 1] = moved
		}
		for (i = 1; i <= processes; i++)
			printf "process %d\n%s", i, text[i]
	    }'
}

printf 'one\ntwo\n' >input
is_stock && second=stock || second=module
backend stock
trace_all stock
backend $second
trace_all module
backend stock

# same_once COMMAND N: returns whether the backends ever agree on a command that depends on chance.
same_once() {
	for again in 1 2 3 4; do
		backend stock
		trace "$1" >"stock.$2.$again"
		backend $second
		trace "$1" >"module.$2.$again"
		for stock in "stock.$2" "stock.$2".*; do
			for module in "module.$2" "module.$2".*; do
				! cmp -s "$stock" "$module" || return 0
			done
		done
	done
	return 1
}

n=0 equal=0 bad=
while read -r line; do
	n=$((n + 1))
	if diff stock.$n module.$n >diff; then
		equal=$((equal + 1))
		continue
	fi
	note "differs at first: $line"
	head -20 diff
	case $line in
	"~ "*)	! same_once "${line#~ }" $n </dev/null || continue ;;
	esac
	bad="$bad
	$line"
done <commands
backend stock
echo "$equal equal at once of $n; $(cat stock.? stock.?? | wc -l) lines"
[ -z "$bad" ] || fail "kdump of the module's trace differs for:$bad"
check_ge $equal 1 "commands that are equal at once"
