//! The plan of a run: the guest tests for each image.

use crate::image::Image;
use crate::suite::Test;

/// An image and the tests that run on it.
#[derive(Debug, Clone)]
pub struct Run {
    /// The image.
    pub image: Image,
    /// The tests.
    pub tests: Vec<Test>,
}

/// Part of the tests that an image gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Core,
    /// The loads of the full-length tests. Their figures count only on a kernel without debugging
    /// checks.
    Loads,
    /// The full-length tests except the loads.
    NoLoads,
}

impl Part {
    fn has(self, test: &Test) -> bool {
        match self {
            Self::Whole => true,
            Self::Core => test.core,
            Self::Loads => test.load.is_some(),
            Self::NoLoads => test.load.is_none(),
        }
    }
}

/// Release and machine whose images get all tests. The first with an image is used.
const WHOLE: [&str; 3] = ["15-amd64", "14-amd64", "15-arm64"];

/// Gives each image of [`crate::image::NAMES`] its tests: all of them or the core.
///
/// At full length, a plain image and its debug image share the work. Plain images come last, so
/// that a run ends with their figures.
pub fn of_named(images: Vec<Image>, tests: &[Test], full: bool, all: bool) -> Vec<Run> {
    let stems: Vec<_> = images.iter().map(Image::stem).collect();
    let has = |stem: String| stems.contains(&stem);
    let whole = WHOLE.into_iter().find(|name| has((*name).into()) || has(format!("{name}-debug")));
    let part = |stem: &str| {
        let family = stem.trim_end_matches("-debug");
        let paired = has(family.into()) && has(format!("{family}-debug"));
        match (all || whole == Some(family), full && paired) {
            (false, _) => Part::Core,
            (true, false) => Part::Whole,
            (true, true) if stem == family => Part::Loads,
            (true, true) => Part::NoLoads,
        }
    };
    let mut runs: Vec<_> = images
        .iter()
        .map(|image| {
            let part = part(&image.stem());
            let tests = tests.iter().filter(|test| part.has(test)).cloned().collect();
            Run { image: image.clone(), tests }
        })
        .filter(|run| !run.tests.is_empty())
        .collect();
    runs.reverse();
    runs
}

/// Gives all tests to each image.
pub fn of_any(images: Vec<Image>, tests: &[Test]) -> Vec<Run> {
    images.into_iter().map(|image| Run { image, tests: tests.to_vec() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Arch, Format};

    fn plan(names: &[&str], full: bool, all: bool) -> Vec<String> {
        let images = names.iter().map(|name| Image {
            path: format!("{name}.img").into(),
            format: Format::Raw,
            arch: Arch::Amd64,
        });
        let test = |name: &str, core, load: Option<&str>| Test {
            name: name.into(),
            core,
            load: load.map(Into::into),
            ..Test::default()
        };
        let tests = [test("core", true, None), test("load", true, Some("x")), test("other", false, None)];
        let runs = of_named(images.collect(), &tests, full, all);
        let names = |run: &Run| run.tests.iter().map(|test| test.name.clone()).collect::<Vec<_>>().join(",");
        runs.iter().map(|run| format!("{}:{}", run.image.stem(), names(run))).collect()
    }

    #[test]
    fn one_release_gets_all_tests_the_others_the_core() {
        assert_eq!(
            plan(&["15-amd64", "14-amd64", "15-amd64-debug", "15-arm64-debug"], false, false),
            [
                "15-arm64-debug:core,load",
                "15-amd64-debug:core,load,other",
                "14-amd64:core,load",
                "15-amd64:core,load,other"
            ]
        );
        assert_eq!(plan(&["14-amd64", "15-arm64"], false, false)[1], "14-amd64:core,load,other");
        assert_eq!(plan(&["15-arm64"], false, false), ["15-arm64:core,load,other"]);
        assert_eq!(plan(&["15-amd64", "14-amd64"], false, true)[0], "14-amd64:core,load,other");
    }

    #[test]
    fn at_full_length_a_pair_shares_the_tests() {
        assert_eq!(
            plan(&["15-amd64", "15-amd64-debug"], true, false),
            ["15-amd64-debug:core,other", "15-amd64:load"]
        );
        assert_eq!(plan(&["14-amd64-debug"], true, false), ["14-amd64-debug:core,load,other"]);
    }
}
