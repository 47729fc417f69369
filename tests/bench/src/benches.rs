//! Output of `make bench`: the samples, and tables and a plot of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::run::Run;
use crate::samples::{Measured, Samples};
use crate::{markdown, plot, tables};

/// Prints the tables of the samples in `out`, writes all output files, and fails if the module misses
/// a goal.
///
/// The files are a directory for `results.csv`, `RESULTS.md` and `plot.svg`, and one that shows the
/// plot between two marks.
pub fn report(out: &Path, files: Option<(&Path, &Path)>) -> Result<()> {
    let runs = Run::all(out)?;
    let [run] = &runs[..] else { bail!("no run of a kernel without debugging checks in {}", out.display()) };
    let counted = run.by_instructions()?;
    let [time, instructions] = [run, &counted].map(|run| run.files("samples.csv"));
    let (time, instructions) = (joined(time?), joined(instructions?));
    let measured = Measured { time: Samples::parse(&time)?, instructions: Samples::parse(&instructions)? };
    print!("{}", tables::all(&counted, &measured));
    if let Some((dir, readme)) = files {
        let csv = csv(&[("time", &time), ("instructions", &instructions)]);
        write(dir, readme, &csv, &tables::document(run, &counted, &measured), &plot::svg(&measured.time)?)?;
    }
    let missed = tables::missed(&measured.instructions);
    ensure!(missed.is_empty(), "missed goals:\n{}", missed.join("\n"));
    Ok(())
}

fn joined(files: impl IntoIterator<Item = (String, String)>) -> String {
    files.into_iter().map(|(_, text)| text).collect()
}

fn csv(clocks: &[(&str, &str)]) -> String {
    let mut text = String::from("clock,load,n,backend,policy,sample,count,ns\n");
    for (clock, lines) in clocks {
        text.extend(lines.lines().map(|line| format!("{clock},{line}\n")));
    }
    text
}

fn write(dir: &Path, readme: &Path, csv: &str, document: &str, plot: &str) -> Result<()> {
    let shown = format!(
        "![throughput, cost of a record, latency]({0}/plot.svg)\n\
         \n\
         `make bench` measures this, stock and module in turns in one run; `{0}/RESULTS.md` has the\n\
         numbers.\n",
        dir.display()
    );
    let shown = markdown::replaced(readme, "bench", &shown)?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    markdown::write(&dir.join("results.csv"), csv)?;
    markdown::write(&dir.join("RESULTS.md"), document)?;
    markdown::write(&dir.join("plot.svg"), plot)?;
    markdown::write(readme, &shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    const TIME: &str = "getppid-tmpfs,1,stock,-,1,1000,4000000\n";

    #[test]
    fn everything_is_written_and_the_readme_shows_it() {
        let out = tempfile::tempdir().unwrap();
        let image = out.path().join("runs/15-amd64");
        run::write(&image, "FreeBSD 15", &[("a/samples.csv", TIME), ("b/samples.csv", "x,1,none,-,1,1,1\n")]);
        run::write(&image.join("instructions"), "FreeBSD 15", &[("b/samples.csv", TIME)]);
        let (dir, readme) = (out.path().join("bench"), out.path().join("README.md"));
        let report = || report(&out.path().join("runs"), Some((&dir, &readme)));
        fs::write(&readme, "no marks\n").unwrap();
        assert!(report().is_err());
        assert!(!dir.exists(), "nothing is written by halves");
        fs::write(&readme, "a\n<!-- bench -->\n<!-- /bench -->\nz\n").unwrap();
        report().unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        assert!(text.contains("/plot.svg)\n") && text.ends_with("-->\nz\n"), "{text}");
        assert_eq!(
            fs::read_to_string(dir.join("results.csv")).unwrap(),
            format!(
                "clock,load,n,backend,policy,sample,count,ns\n\
                 time,{TIME}time,x,1,none,-,1,1,1\ninstructions,{TIME}"
            )
        );
        assert!(fs::read_to_string(dir.join("plot.svg")).unwrap().starts_with("<svg"));
        assert!(
            fs::read_to_string(dir.join("RESULTS.md")).unwrap().contains("FreeBSD 15, QEMU with `-accel")
        );
    }

    #[test]
    fn a_missed_goal_and_bad_samples_fail() {
        let out = tempfile::tempdir().unwrap();
        let image = out.path().join("15-amd64");
        let slow = format!("{TIME}getppid-tmpfs,1,module,batch,1,1000,3000000\n");
        run::write(&image, "FreeBSD 15", &[("a/samples.csv", &slow)]);
        report(out.path(), None).unwrap();
        run::write(&image.join("instructions"), "FreeBSD 15", &[("a/samples.csv", &slow)]);
        let missed = report(out.path(), None).unwrap_err().to_string();
        assert!(missed.starts_with("missed goals:\nbatch: the same, tmpfs"), "{missed}");
        run::write(&image, "FreeBSD 15", &[("a/samples.csv", "no sample\n")]);
        assert!(report(out.path(), None).unwrap_err().to_string().contains("no sample"));
        run::write(&image, "FreeBSD 15 (WITNESS)", &[]);
        assert!(report(out.path(), None).is_err());
    }
}
