//! The plot of the benches' measurements.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::samples::{STOCK, Samples};
use crate::tables::{CPUS, LOADS, record_time};

/// A part of the plot.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 740;
/// Height of the legend.
const LEGEND: u32 = 36;

const CAPTION: (&str, u32) = ("sans-serif", 18);
const LABEL: (&str, u32) = ("sans-serif", 12);

/// Colours of the tracers, in their order.
const COLOURS: [RGBColor; 4] =
    [RGBColor(120, 120, 120), RGBColor(31, 119, 180), RGBColor(44, 160, 44), RGBColor(214, 96, 39)];

/// Width of a group of bars, in units of the x axis.
const GROUP: i32 = 1000;

/// Draws the plot: throughput by load at the top; the cost of a record by number of processes, and
/// latency, below.
pub fn svg(samples: &Samples) -> Result<String> {
    let mut text = String::new();
    draw(SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area(), samples)?;
    Ok(text)
}

fn draw(whole: Area<'_>, samples: &Samples) -> Result<()> {
    whole.fill(&WHITE)?;
    let (top, rest) = whole.split_vertically(LEGEND);
    let (above, below) = rest.split_vertically((HEIGHT - LEGEND) / 2);
    let (left, right) = below.split_horizontally(WIDTH / 2);
    legend(&top, samples)?;
    throughput(&above, samples)?;
    processes(&left, samples)?;
    latency(&right, samples)?;
    Ok(whole.present()?)
}

fn legend(area: &Area<'_>, samples: &Samples) -> Result<()> {
    for (index, tracer) in samples.tracers().into_iter().enumerate() {
        let name = if tracer == STOCK { STOCK.into() } else { format!("ktrace_rs, {tracer}") };
        let left = 76 + index as i32 * 160;
        area.draw(&Rectangle::new([(left, 14), (left + 12, 26)], colour(index).filled()))?;
        area.draw(&Text::new(name, (left + 20, 14), LABEL))?;
    }
    Ok(())
}

fn throughput(area: &Area<'_>, samples: &Samples) -> Result<()> {
    let groups = LOADS
        .iter()
        .map(|load| {
            let time = |tracer| samples.time(load.name, load.n, tracer);
            let ratio = |tracer| Some(time(STOCK)? / time(tracer)?);
            (load.short, samples.tracers().into_iter().map(ratio).collect())
        })
        .collect();
    let bars = Bars {
        caption: "Throughput (stock = 1)",
        unit: "times stock",
        groups,
        tracers: samples.tracers().len(),
        least: 0.0,
    };
    let most = bars.most().max(1.0) * 1.1;
    bars.draw(area, 0.0..most)
}

fn latency(area: &Area<'_>, samples: &Samples) -> Result<()> {
    let groups = [("asleep in the kernel", "late-sleep"), ("in user mode", "late-spin")]
        .map(|(title, load)| {
            let time = |tracer| Some(samples.time(load, 1, tracer)? / 1000.0);
            (title, samples.tracers().into_iter().map(time).collect())
        })
        .into();
    let bars = Bars {
        caption: "Until a record is in the file",
        unit: "µs",
        groups,
        tracers: samples.tracers().len(),
        least: 1.0,
    };
    let most = bars.most().max(100.0) * 2.0;
    bars.draw(area, (1.0..most).log_scale())
}

/// A bar chart with one bar for each tracer in each group.
struct Bars<'a> {
    caption: &'a str,
    unit: &'a str,
    groups: Vec<(&'a str, Vec<Option<f64>>)>,
    tracers: usize,
    /// Value at the base of the bars.
    least: f64,
}

impl Bars<'_> {
    fn most(&self) -> f64 {
        self.groups.iter().flat_map(|(_, values)| values).flatten().copied().fold(0.0, f64::max)
    }

    fn draw<Y>(&self, area: &Area<'_>, y: Y) -> Result<()>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let middles = (0..self.groups.len()).map(|group| left_of(group) + GROUP / 2).collect();
        let x = (0..left_of(self.groups.len())).with_key_points(middles);
        let mut chart = chart(area, self.caption).build_cartesian_2d(x, y)?;
        let name = |x: &i32| self.groups.get((x / GROUP) as usize).map_or("", |(name, _)| name).to_owned();
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_label_formatter(&name)
            .y_label_formatter(&|y| number(*y))
            .y_desc(self.unit)
            .label_style(LABEL)
            .light_line_style(TRANSPARENT)
            .draw()?;
        // A fifth of each group stays free.
        let width = GROUP * 4 / 5 / self.tracers as i32;
        for index in 0..self.tracers {
            let style = colour(index).filled();
            let bars = self.groups.iter().enumerate().filter_map(|(group, (_, values))| {
                let left = left_of(group) + GROUP / 10 + index as i32 * width;
                let top = (*values.get(index)?)?;
                Some(Rectangle::new([(left, self.least), (left + width, top.max(self.least))], style))
            });
            chart.draw_series(bars)?;
        }
        Ok(())
    }
}

fn left_of(group: usize) -> i32 {
    group as i32 * GROUP
}

fn processes(area: &Area<'_>, samples: &Samples) -> Result<()> {
    let load = "getppid-tmpfs";
    let sizes = samples.sizes(load);
    let line = |tracer: &str| -> Vec<(f64, f64)> {
        let point = |n: &u64| Some((*n as f64, record_time(samples, load, *n, tracer, CPUS)?));
        sizes.iter().filter_map(point).collect()
    };
    let lines: Vec<_> = samples.tracers().into_iter().map(line).collect();
    let most = lines.iter().flatten().map(|point| point.1).fold(0.0, f64::max);
    let last = sizes.last().map_or(2.0, |n| *n as f64).max(2.0);
    let x = (1.0..last).log_scale().with_key_points(sizes.iter().map(|n| *n as f64).collect());
    let mut chart = chart(area, "Cost of a record").build_cartesian_2d(x, 0.0..most.max(1.0) * 1.1)?;
    chart
        .configure_mesh()
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| number(*y))
        .x_desc("processes, each with a file of its own")
        .y_desc("ns of processor time")
        .label_style(LABEL)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (index, line) in lines.into_iter().enumerate() {
        chart.draw_series(LineSeries::new(line, colour(index).stroke_width(2)))?;
    }
    Ok(())
}

fn chart<'a, 'b>(area: &'a Area<'b>, caption: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut chart = ChartBuilder::on(area);
    chart.caption(caption, CAPTION).margin(12).x_label_area_size(40).y_label_area_size(64);
    chart
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// Formats a number as briefly as is readable.
fn number(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number}") } else { format!("{number:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tracer_and_load_is_in_the_plot() {
        let samples = Samples::parse(
            "getppid-tmpfs,1,stock,-,1,1000,4000000\n\
             getppid-tmpfs,1,module,batch,1,1000,1000000\n\
             getppid-tmpfs,256,module,batch,1,1000,1000000\n\
             late-spin,1,module,batch,1,10,300000000\n",
        )
        .unwrap();
        let text = svg(&samples).unwrap();
        for word in ["stock", "batch", "4 threads", "ping-pong", "256", "in user mode"] {
            assert!(text.contains(word), "{word}");
        }
    }

    #[test]
    fn nothing_measured_is_an_empty_plot() {
        assert!(svg(&Samples::parse("").unwrap()).unwrap().ends_with("</svg>\n"));
    }
}
