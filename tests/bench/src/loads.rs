//! Figures that the loads have measured at full length, and their table.
//!
//! A guest test whose header has `# load: WHAT` leaves a file `figures` with one line,
//! `made,stock,module,memory,processes`. These are the records that the load's program has made,
//! the records found with the stock backend and with the module, the module's peak memory in bytes,
//! and the number of processes traced at once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::markdown::{self, grouped};
use crate::run::Run;

/// Prints a table of the figures of each kernel in `out`, and writes that of all loads.
///
/// The files are one that holds only the table, and one that has it between two marks.
pub fn report(out: &Path, tests: &Path, files: Option<(&Path, &Path)>) -> Result<()> {
    let titles = titles(tests)?;
    for run in Run::all(out)? {
        let figures = run.files("figures")?;
        let found = titles.iter().filter_map(|(test, title)| Some((title, figures.get(test)?)));
        let rows: Vec<_> = found.map(|(title, figures)| row(title, figures)).collect::<Result<_>>()?;
        let table = HEAD.to_owned() + &rows.concat();
        println!("{}:\n{table}", run.system);
        if let Some((results, readme)) = files {
            if rows.len() < titles.len() {
                println!("not written to {}: a load has left no figures", results.display());
                continue;
            }
            let shown = markdown::replaced(readme, "results", &table)?;
            markdown::write(results, &document(&run, &table))?;
            markdown::write(readme, &shown)?;
        }
    }
    Ok(())
}

/// Returns the names of the tests in a directory that are loads, and what their headers say of them.
fn titles(tests: &Path) -> Result<Vec<(String, String)>> {
    let mut titles = Vec::new();
    for entry in fs::read_dir(tests).with_context(|| tests.display().to_string())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if let Some(title) = text.lines().find_map(|line| line.strip_prefix("# load: ")) {
            let test = path.file_stem().unwrap_or_default().to_string_lossy();
            titles.push((test.into_owned(), title.into()));
        }
    }
    titles.sort();
    Ok(titles)
}

const HEAD: &str = "\
| load | records made | found, stock | found, ktrace_rs | memory at most | per process |
| --- | ---: | ---: | ---: | ---: | ---: |
";

fn row(title: &str, figures: &str) -> Result<String> {
    let numbers: Vec<u64> = figures
        .trim()
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("'{figures}' are not numbers"))?;
    let [made, stock, module, memory, processes @ (1..)] = numbers[..] else {
        bail!("'{figures}' are not five numbers, the last at least 1")
    };
    let records = [made, stock, module].map(grouped).join(" | ");
    let memory = [memory, memory / processes].map(|bytes| grouped(bytes.div_ceil(1024)) + " KiB");
    Ok(format!("| {title} | {records} | {} |\n", memory.join(" | ")))
}

fn document(run: &Run, table: &str) -> String {
    format!(
        "# Results\n\
         \n\
         Written by `make stress`, not by hand.\n\
         \n\
         {}, QEMU with `{}`, trace files on UFS. Both backends in one run.\n\
         \n\
         {table}\n\
         Records made: those whose number the load's program knows, by process or thread and by type;\n\
         all others are checked for order only. Memory: `vmstat -m` of the module at its highest, and\n\
         that divided by the processes traced at once.\n",
        run.system, run.hardware,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    #[test]
    fn figures_become_rows() {
        assert_eq!(
            row("a", "1234567,99,1234567,2048,2\n").unwrap(),
            "| a | 1,234,567 | 99 | 1,234,567 | 2 KiB | 1 KiB |\n"
        );
        assert_eq!(row("b", "0,0,0,1,3").unwrap(), "| b | 0 | 0 | 0 | 1 KiB | 0 KiB |\n");
        for line in ["", "1,2,3,4", "1,2,3,4,x", "1,2,3,4,5,6", "1,2,3,4,0"] {
            assert!(row("a", line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_table_of_all_loads_goes_into_both_files() {
        let out = tempfile::tempdir().unwrap();
        let path = |name: &str| out.path().join(name);
        fs::create_dir(path("tests")).unwrap();
        for (test, text) in [("b.sh", "# load: much\n"), ("a.sh", "# load: more\n"), ("c.sh", "# none\n")] {
            fs::write(path("tests").join(test), text).unwrap();
        }
        let (results, readme) = (path("RESULTS.md"), path("README.md"));
        let report = || report(&path("runs"), &path("tests"), Some((&results, &readme)));
        let image = path("runs/15-amd64");
        fs::write(&readme, "no marks\n").unwrap();
        run::write(&image, "FreeBSD 15", &[("b/figures", "1,2,3,4,5\n"), ("c/figures", "none")]);
        report().unwrap();
        assert!(!results.exists(), "a load has left no figures");
        run::write(&image, "FreeBSD 15", &[("a/figures", "6,7,8,9,1\n")]);
        assert!(report().is_err());
        assert!(!results.exists(), "nothing is written by halves");
        fs::write(&readme, "a\n<!-- results -->\nold\n<!-- /results -->\nz\n").unwrap();
        report().unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        assert!(text.starts_with("a\n") && text.ends_with("-->\nz\n") && !text.contains("old"), "{text}");
        let rows = "| more | 6 | 7 | 8 | 1 KiB | 1 KiB |\n| much | 1 | 2 | 3 | 1 KiB | 0 KiB |\n";
        let written = fs::read_to_string(&results).unwrap();
        assert!(text.contains(rows) && written.contains(rows), "{text}");
        assert!(written.contains("FreeBSD 15, QEMU with `-accel tcg`"), "{written}");
    }
}
