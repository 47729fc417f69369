#!/bin/sh
# Shows that the records of a 32-bit process are right.
#
# It covers arguments of 32 and 64 bits, values, errors, paths, data, a struct array and utrace.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load

[ -x "$KT_BIN/rec32" ] || skip "no 32-bit program was built"
status=0
ktrace -t cnitu+ "$KT_BIN/rec32" || status=$?
[ "$status" != 126 ] || skip "the kernel runs no 32-bit programs"
check_eq "$status" 7 "status of rec32"
raw -q ktrace.out
kdump -A -f ktrace.out >all
parent=$$

# Records before these are from the 64-bit ktrace(1), up to its execve(2).
sed -n 's/^ *[0-9]* rec32  *\([A-Z]*  *F[36][24]  .*\)/\1/p; /^    /p' all |
    sed -e '/RET .*execve/d' -e 's/CALL  F32  _exit/CALL  F32  exit/' -e 's/0x[0-9a-f]\{4,7\}\([,)]\)/PTR\1/g' -e 's/0xffff[0-9a-f]*\([,)]\)/PTR\1/g' >got
cat >want <<END
CALL  F32  getppid
RET   F32  getppid $parent/$(printf '%#x' $parent)
CALL  F32  close(PTR)
RET   F32  close -1 errno 9 Bad file descriptor
CALL  F32  open(PTR,0x202<O_RDWR|O_CREAT>,0600<S_IRUSR|S_IWUSR>)
NAMI  F32  "rec32.data"
RET   F32  open 3
CALL  F32  write(0x3,PTR,0xa)
GIO   F32  fd 3 wrote 10 bytes
       "thirty-two"
RET   F32  write 10/0xa
CALL  F32  lseek(0x3,0x123456789,SEEK_SET)
RET   F32  lseek 591751049/0x23456789
CALL  F32  pread(0x3,PTR,0x3,0x7,0)
GIO   F32  fd 3 read 3 bytes
       "two"
RET   F32  pread 3
CALL  F32  kqueue
RET   F32  kqueue 4
CALL  F32  kevent(0x4,PTR,0x1,0,0,PTR)
STRU  F32  struct kevent32[] = { { ident=0x7, filter=EVFILT_USER, flags=0x21<EV_ADD|EV_CLEAR>, fflags=0, data=0x100000055, udata=0x1234 } }
STRU  F32  struct kevent32[] = {  }
RET   F32  kevent 0
CALL  F32  utrace(PTR,0x2)
USER  F32  2  33 32
RET   F32  utrace 0
CALL  F32  exit(0x7)
END
diff want got || fail "kdump printed other records (>) than expected (<)"
