//! The tables of the benches' measurements, in Markdown.

use crate::markdown::grouped;
use crate::run::Run;
use crate::samples::{Measured, NONE, STOCK, Samples};

/// Nanoseconds of an instruction of the machine that counts them: QEMU's `shift=3`.
pub const INSTRUCTION_NS: u64 = 8;

/// Number of processors of the machine that measures time, and so the maximum number of processes
/// that make records in parallel.
pub const CPUS: u64 = 2;

/// Number of records of a traced `getppid`: `SYSCALL` and `SYSRET`.
pub const RECORDS: f64 = 2.0;

/// Bytes of these records: a header of 64 each, `struct ktr_syscall` without arguments, `struct
/// ktr_sysret`.
const RECORD_BYTES: f64 = 64.0 + 8.0 + 64.0 + 16.0;

/// Bytes of a large write, and of the copy that is measured.
const LARGE: f64 = 65536.0;

/// A load of the throughput table.
#[derive(Debug)]
pub struct Load {
    /// Title in the table.
    pub title: &'static str,
    /// Title in the plot.
    pub short: &'static str,
    /// Name of the load.
    pub name: &'static str,
    /// Size of the load.
    pub n: u64,
    /// Goal under the policy [`BATCH`]: times the stock backend, by instructions.
    pub goal: f64,
}

/// Policy that has goals for the loads.
const BATCH: &str = "batch";

/// Loads whose throughput is compared.
pub const LOADS: &[Load] = &[
    load("`getppid`, `-t c`, UFS", "getppid, UFS", "getppid-ufs", 1, 5.0),
    load("the same, tmpfs", "getppid, tmpfs", "getppid-tmpfs", 1, 2.0),
    load("`open` and `close`, `-t cnt`, UFS", "open, close", "open-ufs", 1, 3.0),
    load("`read` of 4 KiB, `-t ci`, UFS", "read 4 KiB", "read-ufs", 1, 2.0),
    load("two processes, own files, tmpfs", "2 processes, 2 files", "getppid-tmpfs", 2, 2.0),
    load("two processes, one file, UFS", "2 processes, 1 file", "shared-ufs", 2, 5.0),
    load("one process, 4 threads, UFS", "4 threads", "threads-ufs", 4, 5.0),
    load("ping-pong over pipes, `-t cw`, tmpfs", "ping-pong", "pingpong-tmpfs", 1, 1.5),
];

const fn load(title: &'static str, short: &'static str, name: &'static str, n: u64, goal: f64) -> Load {
    Load { title, short, name, n, goal }
}

/// System calls measured in processes that are not traced.
const UNTRACED: [&str; 3] = ["getppid", "open", "fork"];

/// Loads whose records should cost the same at every size.
const FLAT: [&str; 2] = ["getppid-tmpfs", "size-ufs"];

/// Most and least that an untraced system call may cost with the module, times that without it.
const UNTRACED_WITHIN: f64 = 0.02;

/// Greatest allowed cost of the dearest record, times the cheapest.
const FLAT_WITHIN: f64 = 1.2;

/// Formats all tables as one document.
pub fn document(run: &Run, counted: &Run, measured: &Measured) -> String {
    format!(
        "# Benchmarks\n\
         \n\
         Written by `make bench`, not by hand.\n\
         \n\
         {}, QEMU with `{}`. Both backends in one run, in turns; medians of five.\n\
         All samples are in `results.csv`, and `plot.svg` shows them. What the host does besides is in all\n\
         times: samples of the same differ by {} of their median, and by {} where the clock goes by instructions.\n\
         Only counts of instructions have goals. `make bench` fails if the module misses one.\n\
         \n\
         {}",
        run.system,
        run.hardware,
        apart(&measured.time),
        apart(&measured.instructions),
        all(counted, measured),
    )
}

fn apart(samples: &Samples) -> String {
    samples.spread().map_or_else(|| "-".to_owned(), |spread| format!("{:.1} %", 100.0 * spread))
}

/// Formats all tables, each with its explanation.
pub fn all(counted: &Run, Measured { time, instructions }: &Measured) -> String {
    [throughput(time), untraced(time), limit(time), processes(time), sizes(time), memory(time), latency(time)]
        .into_iter()
        .chain([count(&counted.hardware, instructions)])
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the goals that the module misses, by count of instructions.
///
/// Each load has one under [`BATCH`]. Untraced processes must cost the same with the module as
/// without it, and each record must cost the same. Other load on the host does not change these
/// counts.
pub fn missed(samples: &Samples) -> Vec<String> {
    let mut missed = Vec::new();
    for Load { title, name, n, goal, .. } in LOADS {
        if times_stock(samples, name, *n, BATCH).is_some_and(|ratio| ratio < *goal) {
            missed.push(format!("{BATCH}: {title}: less than {goal} times the stock backend"));
        }
    }
    for tracer in &samples.tracers()[1..] {
        for load in UNTRACED {
            if untraced_ratio(samples, load, tracer)
                .is_some_and(|ratio| (ratio - 1.0).abs() > UNTRACED_WITHIN)
            {
                missed
                    .push(format!("{tracer}: an untraced {load} costs more or less than without the module"));
            }
        }
        for load in FLAT {
            if most_over_least(samples, load, tracer, 1).is_some_and(|ratio| ratio > FLAT_WITHIN) {
                missed.push(format!("{tracer}: records of {load} do not all cost the same"));
            }
        }
    }
    missed
}

fn throughput(samples: &Samples) -> String {
    let tracers = samples.tracers();
    let mut rows = Vec::new();
    for Load { title, name, n, .. } in LOADS {
        let rate = |tracer: &str| samples.time(name, *n, tracer).map(|time| 1e9 / time);
        rows.push(row(title, &tracers, |tracer| match times_stock(samples, name, *n, tracer) {
            Some(ratio) if tracer != STOCK => Some(with_ratio(rate(tracer)?, ratio)),
            _ => rate(tracer).map(whole),
        }));
    }
    let name = "getppid-tmpfs";
    rows.push(row("two processes, own files, over one alone", &tracers, |tracer| {
        Some(ratio(samples.time(name, 1, tracer)? / samples.time(name, 2, tracer)?))
    }));
    section(
        "Throughput",
        "Traced loads: how often a second. In brackets: times the stock backend.",
        &head("load", &tracers),
        &rows,
    )
}

/// Returns how often a load runs in the time that it takes once with the stock backend.
fn times_stock(samples: &Samples, load: &str, n: u64, tracer: &str) -> Option<f64> {
    Some(samples.time(load, n, STOCK)? / samples.time(load, n, tracer)?)
}

fn untraced(samples: &Samples) -> String {
    let mut columns = samples.tracers();
    let rows: Vec<_> = UNTRACED
        .into_iter()
        .map(|load| {
            row(&format!("`{load}`"), &columns, |tracer| {
                let time = samples.time(&format!("untraced-{load}"), 1, tracer)?;
                Some(match untraced_ratio(samples, load, tracer)? {
                    _ if tracer == STOCK => whole(time),
                    ratio => with_ratio(time, ratio),
                })
            })
        })
        .collect();
    columns[0] = "not loaded";
    section(
        "Untraced processes",
        "Nanoseconds of a system call (`open`: and `close`; `fork`: and `exit` and `wait`) without the\n\
         module, and with it under each policy. In brackets: times that without it.",
        &head("system call", &columns),
        &rows,
    )
}

/// Returns the time of an untraced system call, relative to that without the module.
fn untraced_ratio(samples: &Samples, load: &str, tracer: &str) -> Option<f64> {
    let time = |tracer| samples.time(&format!("untraced-{load}"), 1, tracer);
    Some(time(tracer)? / time(STOCK)?)
}

fn limit(samples: &Samples) -> String {
    let tracers = samples.tracers();
    let parts = |file_system: &str| {
        let part = |name: &str| samples.time(name, 1, NONE);
        let share = RECORD_BYTES / LARGE;
        let write = part(&format!("write-{file_system}"))? * share;
        Some([part("getppid")?, 2.0 * part("clock")?, part("copy")? * share, write])
    };
    let mut rows = Vec::new();
    for (title, name) in [("UFS", "ufs"), ("tmpfs", "tmpfs")] {
        let parts = parts(name);
        let sum = parts.map(|parts| parts.iter().sum::<f64>());
        let mut cells = vec![title.to_owned()];
        match parts {
            Some(parts) => cells.extend(parts.map(whole)),
            None => cells.extend([(); 4].map(|()| missing())),
        }
        cells.push(sum.map_or_else(missing, whole));
        cells.extend(tracers.iter().map(|tracer| {
            let time = samples.time(&format!("getppid-{name}"), 1, tracer);
            time.zip(sum).map_or_else(missing, |(time, sum)| with_ratio(time, time / sum))
        }));
        rows.push(cells);
    }
    let mut columns = vec!["untraced", "2 clocks", "copy", "write", "sum"];
    columns.extend(&tracers);
    section(
        "Toward the limit",
        "Nanoseconds of what a traced `getppid` cannot do without, and of one that is traced. In\n\
         brackets: times the sum.\n\
         \n\
         - untraced: `getppid` itself;\n\
         - 2 clocks: the time of two records, with `clock_gettime` (which libc does by itself) for nanotime(9);\n\
         - copy: the 152 bytes of both records, as their share of a copy of 64 KiB in user mode;\n\
         - write: their share of a write(2) of 64 KiB to the end of a file on the same file system.",
        &head("trace file on", &columns),
        &rows,
    )
}

fn processes(samples: &Samples) -> String {
    series(
        samples,
        "getppid-tmpfs",
        Some("getppid-untraced"),
        "Number of processes",
        "Nanoseconds of processor time for a record of `getppid`, by how many processes make some at\n\
         once, each for a file of its own on tmpfs; untraced, for half a call. The stock backend has a\n\
         pool that is large enough not to lose records here.",
        ("processes", grouped),
    )
}

fn sizes(samples: &Samples) -> String {
    series(
        samples,
        "size-ufs",
        None,
        "Size of the trace file",
        "Nanoseconds of a record of `getppid` that is appended to a file on UFS which is so large\n\
         already. It was made so large without writing to it (ftruncate(2)).",
        ("KiB before", |bytes| grouped(bytes / 1024)),
    )
}

/// Formats the processor time of a record of a `getppid` load by size, beside that of an untraced
/// load.
fn series(
    samples: &Samples,
    load: &str,
    untraced: Option<&str>,
    title: &str,
    about: &str,
    (column, show): (&str, fn(u64) -> String),
) -> String {
    let mut columns = samples.tracers();
    columns.extend(untraced.map(|_| NONE));
    let sizes = samples.sizes(load);
    let time = |n: u64, tracer: &str| match (tracer, untraced) {
        (NONE, Some(untraced)) => record_time(samples, untraced, n, NONE, CPUS),
        _ => record_time(samples, load, n, tracer, CPUS),
    };
    let mut rows: Vec<_> =
        sizes.iter().map(|n| row(&show(*n), &columns, |tracer| time(*n, tracer).map(whole))).collect();
    rows.push(row("most over least", &columns, |tracer| {
        let load = untraced.filter(|_| tracer == NONE).unwrap_or(load);
        most_over_least(samples, load, tracer, CPUS).map(ratio)
    }));
    if let (Some(_), Some(last)) = (untraced, columns.last_mut()) {
        *last = "untraced";
    }
    section(title, about, &head(column, &columns), &rows)
}

/// Returns the nanoseconds of processor time for a record of a `getppid` load.
///
/// No more processes than processors work at a time. If the size is that of the file, one process
/// does.
pub fn record_time(samples: &Samples, load: &str, n: u64, tracer: &str, cpus: u64) -> Option<f64> {
    let busy = if load == "size-ufs" { 1 } else { n.min(cpus) };
    Some(samples.time(load, n, tracer)? * busy as f64 / RECORDS)
}

/// Returns the ratio of the largest to the smallest record time over all sizes of a load.
fn most_over_least(samples: &Samples, load: &str, tracer: &str, cpus: u64) -> Option<f64> {
    let sizes = samples.sizes(load);
    let times = || sizes.iter().filter_map(|n| record_time(samples, load, *n, tracer, cpus));
    Some(times().reduce(f64::max)? / times().reduce(f64::min)?)
}

/// Formats the counts of instructions, which other load on the host does not change.
fn count(hardware: &str, samples: &Samples) -> String {
    let tracers = samples.tracers();
    let instructions = |ns: f64| ns / INSTRUCTION_NS as f64;
    let mut rows = Vec::new();
    let mut add = |mut cells: Vec<String>, goal: String| {
        cells.push(goal);
        rows.push(cells);
    };
    for Load { title, name, n, goal, .. } in LOADS {
        let cells = row(title, &tracers, |tracer| {
            let count = instructions(samples.time(name, *n, tracer)?);
            Some(match times_stock(samples, name, *n, tracer) {
                Some(ratio) if tracer != STOCK => with_ratio(count, ratio),
                _ => whole(count),
            })
        });
        add(cells, format!("{goal} for {BATCH}"));
    }
    for load in UNTRACED {
        let cells = row(&format!("untraced `{load}`"), &tracers, |tracer| {
            let count = instructions(samples.time(&format!("untraced-{load}"), 1, tracer)?);
            Some(match untraced_ratio(samples, load, tracer)? {
                _ if tracer == STOCK => whole(count),
                ratio => format!("{} ({ratio:.3})", whole(count)),
            })
        });
        add(cells, format!("1, within {UNTRACED_WITHIN}"));
    }
    for (load, unit) in FLAT.into_iter().zip(["processes", "bytes before"]) {
        for n in samples.sizes(load) {
            let cells = row(&format!("a record, {} {unit}", grouped(n)), &tracers, |tracer| {
                record_time(samples, load, n, tracer, 1).map(instructions).map(whole)
            });
            add(cells, missing());
        }
        let cells =
            row("most over least", &tracers, |tracer| most_over_least(samples, load, tracer, 1).map(ratio));
        add(cells, format!("at most {FLAT_WITHIN}"));
    }
    let mut columns = tracers;
    columns.push("goal");
    section(
        "Instructions",
        &format!(
            "Some of the above once more, with one processor, whose clock goes by the instructions that it\n\
             executes, so that what the host does besides makes no difference (`{hardware}`); medians of three.\n\
             In brackets: for traced loads, how often for once with the stock backend; for untraced calls, times\n\
             that without the module."
        ),
        &head("instructions of", &columns),
        &rows,
    )
}

fn memory(samples: &Samples) -> String {
    let tracers = samples.tracers();
    let policies = &tracers[1..];
    let rows: Vec<_> = samples
        .sizes("memory")
        .into_iter()
        .map(|n| {
            let mut cells = row(&grouped(n), policies, |policy| {
                let bytes = samples.count("memory", n, policy)?;
                Some(format!("{} ({})", kib(bytes), kib(bytes / n as f64)))
            });
            let bound = policies.iter().filter_map(|policy| samples.count("memory-bound", n, policy));
            cells.push(bound.reduce(f64::max).map_or_else(missing, kib));
            cells
        })
        .collect();
    let mut columns = policies.to_vec();
    columns.push("bound");
    section(
        "Memory",
        "KiB that the module has at the most (`vmstat -m`), by how many processes are traced at once\n\
         (`getppid`, `-t cw`). In brackets: for each process. The bound is what ktrace_rs(4) says of\n\
         `queue_limit`.",
        &head("processes", &columns),
        &rows,
    )
}

fn latency(samples: &Samples) -> String {
    let tracers = samples.tracers();
    let rows: Vec<_> = [("sleeps in the kernel", "late-sleep"), ("stays in user mode", "late-spin")]
        .into_iter()
        .map(|(title, name)| {
            row(title, &tracers, |tracer| Some(whole(samples.time(name, 1, tracer)? / 1000.0)))
        })
        .collect();
    section(
        "Latency",
        "Microseconds from when a record is made until it is in the file, on UFS, where another process\n\
         can read it. Its process makes no other after it. Asleep, it is the `SYSCALL` of the call that\n\
         sleeps; in user mode, the call that is over.",
        &head("its process", &tracers),
        &rows,
    )
}

fn section(title: &str, about: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let mut text = format!("## {title}\n\n{about}\n\n");
    let rule: Vec<_> = (0..head.len()).map(|at| if at == 0 { "---" } else { "---:" }.to_owned()).collect();
    for cells in [head, &rule].into_iter().chain(rows.iter().map(Vec::as_slice)) {
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn head(first: &str, others: &[&str]) -> Vec<String> {
    [first].iter().chain(others).map(|&column| column.to_owned()).collect()
}

fn row(title: &str, columns: &[&str], cell: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let cells = columns.iter().map(|column| cell(column).unwrap_or_else(missing));
    [title.to_owned()].into_iter().chain(cells).collect()
}

/// Returns the table entry for a missing measurement.
fn missing() -> String {
    "-".into()
}

fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

fn ratio(number: f64) -> String {
    format!("{number:.2}")
}

fn with_ratio(number: f64, of: f64) -> String {
    format!("{} ({})", whole(number), ratio(of))
}

fn kib(bytes: f64) -> String {
    whole((bytes / 1024.0).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the rows of a table without its head.
    fn rows(section: &str) -> Vec<&str> {
        section.lines().filter(|line| line.starts_with('|')).skip(2).collect()
    }

    #[test]
    fn throughput_is_a_rate_and_a_ratio() {
        let samples = Samples::parse(
            "getppid-tmpfs,1,stock,-,1,1000,4000000\n\
             getppid-tmpfs,1,module,record,1,1000,1000000\n\
             getppid-tmpfs,2,stock,-,1,1000,5000000\n\
             getppid-tmpfs,2,module,record,1,1000,500000\n",
        )
        .unwrap();
        let text = throughput(&samples);
        assert_eq!(rows(&text)[1], "| the same, tmpfs | 250,000 | 1,000,000 (4.00) |");
        assert_eq!(rows(&text)[0], "| `getppid`, `-t c`, UFS | - | - |");
        assert_eq!(rows(&text)[8], "| two processes, own files, over one alone | 0.80 | 2.00 |");
    }

    #[test]
    fn what_is_untraced_compares_with_no_module() {
        let samples = Samples::parse(
            "untraced-fork,1,stock,-,1,10,10000\n\
             untraced-fork,1,module,record,1,10,10100\n",
        )
        .unwrap();
        let text = untraced(&samples);
        assert!(text.contains("| system call | not loaded | record |"), "{text}");
        assert_eq!(rows(&text)[2], "| `fork` | 1,000 | 1,010 (1.01) |");
        assert!(missed(&samples).is_empty());
        let text = count("", &samples);
        assert_eq!(rows(&text)[LOADS.len() + 2], "| untraced `fork` | 125 | 126 (1.010) | 1, within 0.02 |");
    }

    #[test]
    fn what_the_module_misses_is_said() {
        let samples = Samples::parse(
            "untraced-fork,1,stock,-,1,10,10000\n\
             untraced-fork,1,module,record,1,10,10300\n\
             getppid-tmpfs,1,stock,-,1,10,10000\n\
             getppid-tmpfs,256,stock,-,1,10,20000\n\
             getppid-tmpfs,1,module,record,1,10,10000\n\
             getppid-tmpfs,256,module,record,1,10,13000\n\
             size-ufs,1,module,batch,1,10,10000\n\
             size-ufs,1024,module,batch,1,10,11900\n\
             read-ufs,1,stock,-,1,10,20000\n\
             read-ufs,1,module,record,1,10,20000\n\
             read-ufs,1,module,batch,1,10,10100\n\
             open-ufs,1,stock,-,1,10,30000\n\
             open-ufs,1,module,batch,1,10,10000\n",
        )
        .unwrap();
        let missed = missed(&samples);
        assert_eq!(missed.len(), 3, "{missed:?}");
        assert!(missed[0].starts_with("batch: `read` of 4 KiB"), "{missed:?}");
        assert!(missed[1].starts_with("record: an untraced fork"), "{missed:?}");
        assert!(missed[2].starts_with("record: records of getppid-tmpfs"), "{missed:?}");
    }

    #[test]
    fn the_limit_is_the_sum_of_its_parts() {
        let samples = Samples::parse(
            "getppid,1,none,-,1,1,300\n\
             clock,1,none,-,1,1,100\n\
             copy,1,none,-,1,1,65536\n\
             write-ufs,1,none,-,1,1,131072\n\
             getppid-ufs,1,stock,-,1,1,9560\n",
        )
        .unwrap();
        let text = limit(&samples);
        assert_eq!(rows(&text)[0], "| UFS | 300 | 200 | 152 | 304 | 956 | 9,560 (10.00) |");
        assert_eq!(rows(&text)[1], "| tmpfs | - | - | - | - | - | - |");
    }

    #[test]
    fn a_record_costs_processor_time() {
        let samples = Samples::parse(
            "getppid-tmpfs,1,stock,-,1,10,20000\n\
             getppid-tmpfs,256,stock,-,1,10,15000\n\
             getppid-untraced,256,none,-,1,10,1500\n\
             size-ufs,1024,stock,-,1,10,20000\n",
        )
        .unwrap();
        assert_eq!(
            rows(&processes(&samples)),
            ["| 1 | 1,000 | - |", "| 256 | 1,500 | 150 |", "| most over least | 1.50 | 1.00 |"]
        );
        assert_eq!(rows(&sizes(&samples)), ["| 1 | 1,000 |", "| most over least | 1.00 |"]);
    }

    #[test]
    fn memory_is_of_all_and_of_each() {
        let samples = Samples::parse(
            "memory,4,module,record,1,40960,0\n\
             memory-bound,4,module,record,1,81920,0\n",
        )
        .unwrap();
        assert_eq!(rows(&memory(&samples)), ["| 4 | 40 (10) | 80 |"]);
    }

    #[test]
    fn every_table_is_in_the_document() {
        let run = Run {
            system: "FreeBSD 14.2 amd64 GENERIC".into(),
            hardware: "-accel tcg".into(),
            ..Run::default()
        };
        let samples = |lines| Samples::parse(lines).unwrap();
        let measured = Measured {
            time: samples("late-spin,1,stock,-,1,2,3000000\n"),
            instructions: samples(
                "size-ufs,1024,stock,-,1,10,20000\n\
                 getppid-tmpfs,1,stock,-,1,1,16000\n\
                 getppid-tmpfs,1,module,batch,1,1,8000\n",
            ),
        };
        let text = document(&run, &run, &measured);
        assert!(text.contains("FreeBSD 14.2 amd64 GENERIC, QEMU with `-accel"), "{text}");
        assert!(text.contains("| stays in user mode | 1,500 |"), "{text}");
        assert!(text.contains("| a record, 1,024 bytes before | 125 | - | - |"), "{text}");
        assert!(text.contains("| the same, tmpfs | 2,000 | 1,000 (2.00) | 2 for batch |"), "{text}");
        assert_eq!(text.matches("\n## ").count(), 8);
    }
}
