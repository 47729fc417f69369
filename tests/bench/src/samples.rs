//! Samples measured by the benches.
//!
//! A bench leaves lines of `load,n,backend,policy,sample,count,ns`, described in
//! `guest/bench/bench.subr`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// Name of the stock backend among [`Samples::tracers`].
pub const STOCK: &str = "stock";
/// Name used for measurements without either backend.
pub const NONE: &str = "none";

/// Measurements of one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Samples measured in real time.
    pub time: Samples,
    /// Samples measured in instructions of [`INSTRUCTION_NS`](crate::tables::INSTRUCTION_NS) each.
    pub instructions: Samples,
}

/// All samples measured with one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples(Vec<Sample>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    load: String,
    n: u64,
    /// The module's policy, or the name of another backend.
    tracer: String,
    count: u64,
    ns: u64,
}

impl Samples {
    /// Parses sample lines without the header.
    pub fn parse(text: &str) -> Result<Self> {
        text.lines()
            .map(|line| parse(line).with_context(|| format!("'{line}' is no sample")))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Returns whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the tracers: [`STOCK`], then the policies of the module in the order of their
    /// measurement.
    pub fn tracers(&self) -> Vec<&str> {
        let mut tracers = vec![STOCK];
        for sample in &self.0 {
            if sample.tracer != NONE && !tracers.contains(&sample.tracer.as_str()) {
                tracers.push(&sample.tracer);
            }
        }
        tracers
    }

    /// Returns the sizes at which a load was measured, smallest first.
    pub fn sizes(&self, load: &str) -> Vec<u64> {
        let mut sizes: Vec<_> =
            self.0.iter().filter(|sample| sample.load == load).map(|sample| sample.n).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Returns the median time in nanoseconds for one counted event.
    pub fn time(&self, load: &str, n: u64, tracer: &str) -> Option<f64> {
        self.median(load, n, tracer, Sample::time)
    }

    /// Returns the median count.
    pub fn count(&self, load: &str, n: u64, tracer: &str) -> Option<f64> {
        self.median(load, n, tracer, |sample| sample.count as f64)
    }

    /// Returns the spread of the samples.
    ///
    /// The spread of one load and tracer is the longest time less the shortest, relative to the
    /// median. The result is the median of these, over all loads measured more than once.
    pub fn spread(&self) -> Option<f64> {
        let mut times = BTreeMap::<_, Vec<_>>::new();
        for sample in self.0.iter().filter(|sample| sample.ns != 0) {
            times.entry((&sample.load, sample.n, &sample.tracer)).or_default().push(sample.time());
        }
        let spread = |times: Vec<f64>| {
            let most = times.iter().copied().reduce(f64::max)?;
            let least = times.iter().copied().reduce(f64::min)?;
            Some((most - least) / median(times)?)
        };
        median(times.into_values().filter(|times| times.len() > 1).filter_map(spread).collect())
    }

    fn median(&self, load: &str, n: u64, tracer: &str, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        let wanted = |sample: &&Sample| sample.load == load && sample.n == n && sample.tracer == tracer;
        median(self.0.iter().filter(wanted).map(value).collect())
    }
}

impl Sample {
    /// Returns the time in nanoseconds for one counted event.
    fn time(&self) -> f64 {
        self.ns as f64 / self.count as f64
    }
}

fn parse(line: &str) -> Result<Sample> {
    let fields: Vec<&str> = line.split(',').collect();
    let [load, n, backend, policy, _, count, ns] = fields[..] else { bail!("not seven fields") };
    let tracer = if backend == "module" { policy } else { backend };
    let sample = Sample {
        load: load.into(),
        n: n.parse()?,
        tracer: tracer.into(),
        count: count.parse()?,
        ns: ns.parse()?,
    };
    if sample.count == 0 && sample.ns != 0 {
        bail!("nothing was done in that time");
    }
    Ok(sample)
}

/// Returns the middle value, or the mean of the two middle values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(vec![9.0, 1.0, 5.0, 2.0]), Some(3.5));
    }

    #[test]
    fn samples_are_found_by_load_size_and_tracer() {
        let samples = Samples::parse(
            "a,1,stock,-,1,10,1000\n\
             a,1,module,record,1,10,500\n\
             a,1,stock,-,2,10,3000\n\
             a,16,stock,-,1,1,7\n\
             a,2,module,batch,1,1,8\n\
             b,1,none,-,1,4096,0\n",
        )
        .unwrap();
        assert_eq!(samples.tracers(), ["stock", "record", "batch"]);
        assert_eq!(samples.sizes("a"), [1, 2, 16]);
        assert_eq!(samples.time("a", 1, STOCK), Some(200.0));
        assert_eq!(samples.time("a", 1, "record"), Some(50.0));
        assert_eq!(samples.time("a", 1, "batch"), None);
        assert_eq!(samples.count("b", 1, NONE), Some(4096.0));
    }

    #[test]
    fn the_spread_is_that_of_what_has_several_samples() {
        let samples = Samples::parse(
            "a,1,stock,-,1,10,1000\n\
             a,1,stock,-,2,10,3000\n\
             a,1,stock,-,3,10,2000\n\
             a,2,stock,-,1,10,9000\n\
             b,1,none,-,1,4096,0\n\
             b,1,none,-,2,8192,0\n",
        )
        .unwrap();
        assert_eq!(samples.spread(), Some(1.0));
        assert_eq!(Samples::parse("").unwrap().spread(), None);
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for line in ["", "a,1,stock,-,1,10", "a,1,stock,-,1,x,10", "a,1,stock,-,1,0,10", "a,1,,,,,,"] {
            assert!(Samples::parse(&format!("{line}\n")).is_err(), "{line}");
        }
        assert!(Samples::parse("").unwrap().is_empty());
    }
}
