//! The schedules that are tried.
//!
//! SCHEDULES=N      schedules of each scenario and scheduler
//! SCHEDULE=TEXT    only this schedule, as printed by a failure
//! POLICY=NAME      only scenarios that begin with this policy

use std::cell::RefCell;
use std::env;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::tasks::set_all;
use crate::{Flaw, Scenario, World, flaw};

/// The default number of schedules of each scenario and scheduler.
const ITERATIONS: usize = 1000;

/// The seed of the schedulers. It is fixed, so that each run tries the same schedules.
const SEED: u64 = 2005;

/// The number of switches from the thread of the highest priority that a schedule may have.
const DEPTH: usize = 4;

/// Tries a scenario in random schedules, and in schedules with few preemptions.
pub fn explore(scenario: Scenario) {
    let policy = scenario.policy.name();
    if env::var("POLICY").is_ok_and(|only| only != policy) {
        return;
    }
    println!("POLICY={policy}");
    let scenario = Arc::new(scenario);
    if let Ok(schedule) = env::var("SCHEDULE") {
        run(ReplayScheduler::new_from_encoded(&schedule), &scenario);
        return;
    }
    run(RandomScheduler::new_from_seed(SEED, iterations()), &scenario);
    run(PctScheduler::new_from_seed(SEED, DEPTH, iterations()), &scenario);
}

/// Tries a scenario in every schedule. Returns the number of schedules. To limit that number, the
/// processes exit at the end, and no task switch happens at counters, at the mutexes of memory, or
/// between two mutexes.
pub fn exhaustive(scenario: Scenario) -> usize {
    set_all(false);
    let scenario = Arc::new(scenario.with_late_exit());
    let schedules = run(DfsScheduler::new(None, false), &scenario);
    set_all(true);
    schedules
}

/// Returns the failure of a scenario that has a flaw, or an empty string if none is found.
pub fn failure(flaw: Flaw, scenario: Scenario) -> String {
    let scenario = Arc::new(scenario);
    flaw::set(flaw);
    let found = failure_of(move || World::run(&scenario));
    flaw::set(Flaw::None);
    found
}

/// Returns the failure of a program, as [`failure`] does.
pub fn failure_of(program: impl Fn() + Send + Sync + 'static) -> String {
    let scheduler = RandomScheduler::new_from_seed(SEED, ITERATIONS);
    let runner = Runner::new(scheduler, config(FailurePersistence::None));
    note_panics();
    FIRST_PANIC.take();
    match catch_unwind(AssertUnwindSafe(|| runner.run(program))) {
        Ok(_) => String::new(),
        Err(_) => FIRST_PANIC.take().unwrap_or_default(),
    }
}

thread_local! {
    /// The message of the host thread's first panic. The scheduler's own panic does not contain the
    /// message of a panic in another task than the first.
    static FIRST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes all panics from now on.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            FIRST_PANIC.with_borrow_mut(|first| {
                first.get_or_insert_with(|| info.to_string());
            });
            print(info);
        }));
    });
}

fn run(scheduler: impl Scheduler + 'static, scenario: &Arc<Scenario>) -> usize {
    let scenario = Arc::clone(scenario);
    Runner::new(scheduler, config(FailurePersistence::Print)).run(move || World::run(&scenario))
}

fn config(persistence: FailurePersistence) -> Config {
    let mut config = Config::new();
    config.failure_persistence = persistence;
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

fn iterations() -> usize {
    let set = env::var("SCHEDULES").ok();
    set.map_or(ITERATIONS, |text| text.parse().expect("SCHEDULES is a number"))
}
