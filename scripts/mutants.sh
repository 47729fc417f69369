#!/bin/sh
# Shows that the model can fail: breaks a copy of the engine in one place after the other, each of
# which tests/model must find.
set -eu
cd "$(dirname "$0")/.."

copy=target/mutants/source
found=0
missed=

rm -rf "$copy"
mkdir -p "$copy"
cp -R Cargo.toml Cargo.lock bindings kmod tests "$copy"

model() {
	(cd "$copy" && RUSTFLAGS=--cap-lints=allow RUST_BACKTRACE=0 MODEL_ITERATIONS=400 \
	    cargo test -q -p ktrace-model --test model --target-dir ../build "$@") >"$copy/log" 2>&1
}

# mutant NAME FILE SED_SCRIPT: a change to a file of the engine.
mutant() {
	_name=$1
	_file=kmod/engine/src/$2
	sed "$3" "$_file" >"$copy/$_file"
	if cmp -s "$_file" "$copy/$_file"; then
		echo "mutants: \"$_name\" changes nothing: $_file is not what it was" >&2
		exit 1
	fi
	if ! model --no-run; then
		cat "$copy/log" >&2
		echo "mutants: \"$_name\" cannot be compiled" >&2
		exit 1
	fi
	if model; then
		missed="$missed
	$_name"
	else
		found=$((found + 1))
	fi
	cp "$_file" "$copy/$_file"
}

mutant "a drain writes after it let go of the commit lock" process.rs '
	/pub fn drain(/,/^    }/{
		s/^        self.commit.with(/        let queued = self.commit.with(/
		s/^            let queued = self.with_room(/            self.with_room(/
		s/Queue::take);$/Queue::take)/
		s/^            self.write_queued(may_sleep, None, &mut writer.free,/        }); self.write_queued(may_sleep, None, \&mut Stack::new(),/
		s/^        })$//
	}'
mutant "the time of a written record is read before its place is known" process.rs '
	s/^        self.commit.with(may_sleep, |writer| {/        let now = P::now(); &/
	s/time: P::now(),/time: now,/'
mutant "what is queued is counted after others can write it" process.rs '
	/stats.queued.add(i64::try_from(pushed.len)/d
	s/stats.note_queued(bytes);/stats.queued.add(Record::encoded_len(payload) as i64); &/'
mutant "a process is counted as traced after others can end that" process.rs '
	/pub fn set_file(/,/^    }/{
		s/^        self.queue.with(/        let old = self.queue.with(/
		/stats.procs.add/d
		s/^        })/        }); self.engine.stats.procs.add(i64::from(begins) - i64::from(old.is_some())); old/
	}'
mutant "a written record carries no mark" process.rs 's/drop: queue.take_drop_mark(),/drop: false,/'
mutant "the mark stays after a written record" process.rs \
    's/drop: queue.take_drop_mark(),/drop: { let mark = queue.take_drop_mark(); if mark { queue.mark_drop(); } mark },/'
mutant "a queued record carries no mark" queue.rs 's/record.header.drop = self.dropped;//'
mutant "a file that failed takes its successor with it" process.rs \
    's/queue.file().is_some_and(|current| Arc::ptr_eq(current, file));/queue.file().is_some();/'
mutant "a record goes where the one before it went" segment.rs \
    's/if !self.file.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, file)) {/let _ = file; if self.file.is_none() {/'
mutant "the newest records are written first" queue.rs 's/all.reversed()/all/'
mutant "a full segment is forgotten" queue.rs 's/self.full.push(last);/drop(last);/'
mutant "the limit is not looked at" queue.rs 's/\.max(SPARE_MIN)\.min(most)/.max(SPARE_MIN + 0 * most)/'
mutant "what failed as a batch is written as a batch" file.rs \
    's/if let Err(failed) = self.append(leave, record) {/let _ = record; if let Err(failed) = self.append(leave, records) {/'
mutant "what failed is not counted" file.rs 's/self.engine.stats.drop_one(kind);/let _ = kind;/'

if [ -n "$missed" ]; then
	echo "mutants: the model does not find:$missed" >&2
	exit 1
fi
echo "mutants: the model finds all $found"
