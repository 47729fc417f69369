//! The plan of a run: the guest tests for each image.

use crate::image::Image;
use crate::suite::{Kernel, Test};

/// An image and the tests that run on it.
#[derive(Debug, Clone)]
pub struct Run {
    /// The image.
    pub image: Image,
    /// The tests.
    pub tests: Vec<Test>,
}

/// Release and machine whose images get all tests. The first with an image is used.
const WHOLE: [&str; 3] = ["15-amd64", "14-amd64", "15-arm64"];

/// Gives each image of [`crate::image::NAMES`] its tests: those of one release and machine get all,
/// the others the core.
///
/// The plain image and the debug image of a release and machine share these by what each kernel can
/// find, unless `all` tests are to run on all images. Plain images come last, so that a run ends with
/// the figures of the loads.
pub fn of_named(images: Vec<Image>, tests: &[Test], full: bool, all: bool) -> Vec<Run> {
    let stems: Vec<_> = images.iter().map(Image::stem).collect();
    let has = |stem: String| stems.contains(&stem);
    let whole = WHOLE.into_iter().find(|name| has((*name).into()) || has(format!("{name}-debug")));
    let gets = |stem: &str, test: &Test| {
        let family = stem.trim_end_matches("-debug");
        let paired = has(family.into()) && has(format!("{family}-debug"));
        let kernel = if stem == family { Kernel::Plain } else { Kernel::Debug };
        let here = !paired || kernel_of(test, full).is_none_or(|wanted| wanted == kernel);
        all || here && (test.core || whole == Some(family))
    };
    let run = |image: &Image| {
        let tests = tests.iter().filter(|test| gets(&image.stem(), test)).cloned().collect();
        Run { image: image.clone(), tests }
    };
    images.iter().rev().map(run).filter(|run| !run.tests.is_empty()).collect()
}

/// Returns the kernel that a test runs on, if it is not both.
///
/// At full length, only loads run on a plain kernel. Their figures do not count on another.
fn kernel_of(test: &Test, full: bool) -> Option<Kernel> {
    match (full, test.load) {
        (false, _) => test.kernel,
        (true, true) => Some(Kernel::Plain),
        (true, false) => Some(Kernel::Debug),
    }
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
        let test = |name: &str, core, kernel| Test { name: name.into(), core, kernel, ..Test::default() };
        let tests = [
            test("core", true, None),
            Test { load: true, ..test("load", true, None) },
            test("debug", true, Some(Kernel::Debug)),
            test("plain", false, Some(Kernel::Plain)),
        ];
        let runs = of_named(images.collect(), &tests, full, all);
        let names = |run: &Run| run.tests.iter().map(|test| test.name.clone()).collect::<Vec<_>>().join(",");
        runs.iter().map(|run| format!("{}:{}", run.image.stem(), names(run))).collect()
    }

    #[test]
    fn one_release_gets_all_tests_the_others_the_core() {
        assert_eq!(
            plan(&["15-amd64", "14-amd64", "15-amd64-debug", "15-arm64-debug"], false, false),
            [
                "15-arm64-debug:core,load,debug",
                "15-amd64-debug:core,load,debug",
                "14-amd64:core,load,debug",
                "15-amd64:core,load,plain"
            ]
        );
        assert_eq!(plan(&["14-amd64", "15-arm64"], false, false)[1], "14-amd64:core,load,debug,plain");
        assert_eq!(plan(&["15-arm64"], false, false), ["15-arm64:core,load,debug,plain"]);
    }

    #[test]
    fn a_pair_shares_the_core_too() {
        let names = ["15-amd64", "14-amd64", "14-amd64-debug"];
        assert_eq!(plan(&names, false, false)[..2], ["14-amd64-debug:core,load,debug", "14-amd64:core,load"]);
    }

    #[test]
    fn all_tests_run_on_all_images_on_request() {
        for run in plan(&["15-amd64", "15-amd64-debug", "14-amd64"], false, true) {
            assert!(run.ends_with(":core,load,debug,plain"), "{run}");
        }
    }

    #[test]
    fn at_full_length_only_loads_run_on_the_plain_kernel_of_a_pair() {
        assert_eq!(
            plan(&["15-amd64", "15-amd64-debug"], true, false),
            ["15-amd64-debug:core,debug,plain", "15-amd64:load"]
        );
        assert_eq!(plan(&["14-amd64-debug"], true, false), ["14-amd64-debug:core,load,debug,plain"]);
    }
}
