#!/bin/sh
# Shows that the host tests can fail. It breaks a copy of the engine in one place after another, and
# tests/schedules or tests/engine must find each fault.
set -eu
cd "$(dirname "$0")/.."

copy=target/mutants/source
found=0
missed=

rm -rf "$copy"
mkdir -p "$copy"
cp -R Cargo.toml Cargo.lock build.rs bindings kmod ktrcheck ktrstat tests "$copy"

# host TEST...: runs tests of the copy on the host.
host() {
	(cd "$copy" && RUSTFLAGS=--cap-lints=allow RUST_BACKTRACE=0 \
	    cargo test -q --target-dir ../build "$@") >"$copy/log" 2>&1
}

# Runs the schedules, which find most faults: first in few schedules, then in all, then in many.
schedules() {
	SCHEDULES=40 host -p ktrace-schedules --test schedules random && \
	    host -p ktrace-schedules --test schedules exhaustive && \
	    SCHEDULES=400 host -p ktrace-schedules --test schedules random
}

# Compares the engine with a model of it.
engine() {
	host -p ktrace-engine-tests --test engine
}

# mutant NAME FILE SED_SCRIPT [FILE SED_SCRIPT]: makes a change to the engine that $finder must
# find.
mutant() {
	_name=$1
	shift
	_files=
	while [ $# -ne 0 ]; do
		_file=kmod/engine/src/$1
		sed "$2" "$_file" >"$copy/$_file"
		if cmp -s "$_file" "$copy/$_file"; then
			echo "mutants: \"$_name\" changes nothing: $_file is not what it was" >&2
			exit 1
		fi
		_files="$_files $_file"
		shift 2
	done
	if ! host --no-run -p ktrace-schedules --test schedules; then
		cat "$copy/log" >&2
		echo "mutants: \"$_name\" cannot be compiled" >&2
		exit 1
	fi
	if $finder; then
		missed="$missed
	$_name"
	else
		found=$((found + 1))
	fi
	for _file in $_files; do
		cp "$_file" "$copy/$_file"
	done
}

finder=schedules

mutant "a record that may not wait passes the queue" process.rs '
	/pub fn enqueue(/,/^    }/s/if queue.is_empty() {/{/'
mutant "a record that may wait passes the queue" process.rs '
	/fn put(/,/^    }/s/if !queue.is_empty() {/if false {/'
mutant "the stream is taken out before the queue" process.rs '
	/fn write_to(/,/^    }/{
		s/^        let (end, queued) = self.with_room(/        let end = file.take_stream(spare); let queued = self.with_room(/
		s/(file.take_stream(spare), queue.take_for(file))/queue.take_for(file)/
	}'
mutant "the queue is written before the stream" file.rs '
	/fn write_taken(/,/^    }/{
		/behind(writer, failures);/d
		s/^        let Writer {/        behind(writer, failures); &/
	}'
mutant "a long record is written before what is queued" process.rs '
	/fn write_before(/,/^    }/{
		/self.write_queued(/d
		/if let Some((drop, time)) = alone {/,/^                }$/s/^                }$/&self.write_queued(file, leave, writer, queued, failures);/
	}'
mutant "a drain leaves what is in the stream" process.rs '
	/pub fn drain(/,/^    }/s/^            file.flush_to(.*/            let _ = file;/'
mutant "a drain does not write all when it is told to" process.rs '
	/pub fn drain(/,/^    }/s/wanted.is_some() || //'
mutant "a flush leaves what is in the stream" process.rs '
	/pub fn flush(/,/^    }/s/^        file.flush_to(.*/        let _ = file;/'
mutant "a flush leaves what is queued" process.rs '
	/pub fn flush(/,/^    }/s/^        self.write_queue(.*/        let _ = room;/'
mutant "a record is not written at once" process.rs '
	/fn commit_step(/,/^    }/s/^                    file.flush_to(.*/                    let _ = (file, end);/'
mutant "a stream is said to be written before it is" file.rs '
	/fn write_taken(/,/^    }/{
		/self.written.store/d
		s/^        self.write(leave,/        self.written.store(end, Ordering::Release); &/
	}'
mutant "a stream is said to be written before what is behind it" file.rs '
	/fn write_taken(/,/^    }/{
		/behind(writer, failures);/d
		s/^        self.written.store.*/&behind(writer, failures);/
	}'
mutant "what is taken out of a stream does not move its end" stream.rs '
	/fn take(/,/^    }/s/^        self.end = .*//'
mutant "the last record of a stream is left" file.rs '
	/fn flush_to(/,/^    }/s/>= end {/>= end.saturating_sub(1) {/'
mutant "time is read before the stream is locked" file.rs '
	/fn put(/,/^    }/s/^        self.stream.with(/        header.time = P::now(); &/
' stream.rs 's/^        header.time = P::now();//'
mutant "the time of a record of its own is read when it is written" process.rs '
	/fn write_before(/,/^    }/s/(drop, time);/{ let _ = time; (drop, P::now()) };/'
mutant "what is in a stream is counted after others can write it" file.rs '
	/fn put(/,/^    }/{
		/self.engine.stats.queued.add/d
		s/^        self.stream.with(|stream| {/        let result = self.stream.with(|stream| {/
		s/^        })$/        }); if let (Put::Done { .. }, _) = result { self.engine.stats.queued.add(header.len as i64 + 64); } result/
	}'
mutant "records of the batch before are counted once more" stream.rs \
    's/^        self.tally.clear();//'
mutant "what is queued is counted after others can write it" process.rs '
	/stats.queued.add(i64::try_from(pushed.len)/d
	s/stats.note_queued(bytes);/stats.queued.add(Record::encoded_len(payload) as i64); &/'
mutant "a record that may not wait carries no mark" process.rs '
	/pub fn enqueue(/,/^    }/s/header.drop = queue.has_drop_mark();/header.drop = false;/'
mutant "a record that may wait carries no mark" process.rs '
	/fn put(/,/^    }/s/header.drop = queue.has_drop_mark();/header.drop = false;/'
mutant "a queued record carries no mark" queue.rs 's/record.header.drop = self.dropped;//'
mutant "a record of its own carries no mark" process.rs '
	/fn write_before(/,/^    }/s/let drop = queue.has_drop_mark();/let drop = false;/'
mutant "the mark stays" process.rs 's/^        queue.clear_drop_mark();//'
mutant "the mark goes with a record that does not get through" process.rs '
	/fn put(/,/^    }/s/(Put::Full | Put::TooLong, _) => \(.*\),$/(Put::Full | Put::TooLong, _) => { let file = \&Arc::clone(file); queue.clear_drop_mark(); \1 }/'
mutant "a file that failed takes its successor with it" queue.rs \
    's/if self.file.as_ref().is_some_and(|current| Arc::ptr_eq(current, file)) {/if self.file.is_some() {/'
mutant "a failure ends the tracing of whoever is first in the batch" file.rs '
	/fn write_each(/,/^    }/{
		s/^        let mut first = true;/&let mut charged = None;/
		s/WriteFailed { pid: header.pid,/WriteFailed { pid: *charged.get_or_insert(header.pid),/
		s/^            records = rest;/            let _ = charged.get_or_insert(header.pid);&/
	}'
mutant "a file that others have failed at is not written again" file.rs '
	s/let failed_before =/let failed_before = !failures.is_empty();let _ =/'
mutant "what failed as a batch is written as a batch" file.rs \
    's/_ => self.append(leave, record),/_ => { let _ = record; self.append(leave, records) }/'
mutant "what failed is not counted" file.rs '
	/fn write_each(/,/^    }/s/self.engine.stats.drop_one(header.kind);//'
mutant "a record goes where the one before it went" segment.rs \
    's/if !self.is_for(file) {/let _ = file; if self.file.is_none() {/'
mutant "the newest records are written first" queue.rs 's/(all.reversed(), /(all, /'
mutant "a full segment is forgotten" queue.rs 's/^                self.full.push(last);/                drop(last);/'
mutant "the limit is not looked at" queue.rs 's/\.max(SPARE_MIN)\.min(most)/.max(SPARE_MIN + 0 * most)/'
mutant "who waits for a file system has the commit lock" file.rs '
	/fn with_writer<R>(/,/^    }/{
		s/^        let leave = .*//
		s/|writer| write(&leave, writer)/|writer| { let leave = self.storage.start_write(may_sleep); write(\&leave, writer) }/
	}'

finder=engine

mutant "who finds a stream full waits for the disk" process.rs '
	/fn commit_behind(/,/^    }/s/let step = tried.unwrap_or_else(.*/let step = tried.unwrap_or(Step::Behind(Arc::clone(file)));/'
mutant "what is queued stays behind where tracing ends" queue.rs '
	/fn abandon(/,/^    }/s/let (mut segments, bytes) = self.take_for(file);/let (mut segments, bytes) = (Stack::<P>::new(), 0);/'
mutant "a full batch waits" process.rs '
	/fn commit_step(/,/^    }/s/^                        file.write_stream(.*/let _ = (leave, writer);/'
mutant "a batch is due when all of the latency is over" settings.rs 's/500_000/1_000_000/'
mutant "the number of records is not looked at" stream.rs 's/|| records >= settings.batch_records()//'
mutant "what is at once waits for its thread" process.rs '
	/pub fn commit(/,/^    }/s/self.is_at_once(kind) => Policy::Record,/self.is_at_once(kind) => Policy::Return,/'
mutant "the return from a system call leaves what is before it" process.rs '
	/pub fn commit(/,/^    }/s/Kind::Sysret) => Policy::Record,/Kind::Sysret) => Policy::Return,/'
mutant "nobody knows who has failed before" file.rs 's/let again = failed.contains(&header.pid);/let again = false;/'
mutant "who may sleep takes the room of who may not" stream.rs 's/if may_sleep && end/if false \&\& end/'
mutant "help waits for a suspended file system" process.rs '
	/pub fn help(/,/^    }/s/file.try_with_writer(/file.with_writer(/'
mutant "help waits for a thread that writes" file.rs '
	/fn try_with_writer<R>(/,/^    }/s/self.commit.try_with(may_sleep, |writer| write(&leave, writer))/Some(self.commit.with(may_sleep, |writer| write(\&leave, writer)))/'
mutant "help is counted where there is nothing to do" process.rs '
	/pub fn help(/,/^    }/s/if only() \&\& self.write_to(\(.*\)) {/if { only() \&\& self.write_to(\1); true } {/'
mutant "something is overdue when it is seen first" stream.rs 's/self.buffer.seen != look/true/'

if [ -n "$missed" ]; then
	echo "mutants: not found:$missed" >&2
	exit 1
fi
echo "mutants: all $found are found"
