//! The settings of all traces, and the values that they refuse.

use std::fmt::Debug;

use ktrace_engine::{
    BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, BATCH_BYTES_MIN, BATCH_RECORDS_DEFAULT, BATCH_RECORDS_MAX, Errno,
    LATENCY_DEFAULT, LATENCY_MAX, Policy, QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX, QUEUE_LIMIT_MIN, Settings,
};
use ktrace_sim::Engine;

/// Checks that values out of range are refused with `EINVAL` and change nothing, and that others
/// are set.
fn check<T: Copy + Debug + PartialEq>(
    get: impl Fn(&Settings) -> T,
    set: impl Fn(&Settings, T) -> Result<(), Errno>,
    default: T,
    refused: &[T],
    accepted: &[T],
) {
    let settings = &Engine::new().settings;
    assert_eq!(get(settings), default);
    for value in accepted {
        assert_eq!(set(settings, *value), Ok(()));
        assert_eq!(get(settings), *value);
        for refused in refused {
            assert_eq!(set(settings, *refused), Err(Errno(22)), "{refused:?}");
            assert_eq!(get(settings), *value);
        }
    }
}

#[test]
fn limits_of_a_queue() {
    check(
        Settings::queue_limit,
        Settings::set_queue_limit,
        QUEUE_LIMIT_DEFAULT,
        &[0, 1, QUEUE_LIMIT_MIN - 1, QUEUE_LIMIT_MAX + 1, usize::MAX],
        &[QUEUE_LIMIT_MIN, QUEUE_LIMIT_MAX],
    );
}

#[test]
fn latencies() {
    check(
        Settings::latency,
        Settings::set_latency,
        LATENCY_DEFAULT,
        &[0, LATENCY_MAX + 1, u32::MAX],
        &[1, LATENCY_MAX],
    );
}

#[test]
fn bytes_of_a_batch() {
    check(
        Settings::batch_bytes,
        Settings::set_batch_bytes,
        BATCH_BYTES_DEFAULT,
        &[0, 1, BATCH_BYTES_MIN - 1, BATCH_BYTES_MAX + 1, usize::MAX],
        &[BATCH_BYTES_MIN, BATCH_BYTES_MIN + 1, BATCH_BYTES_MAX],
    );
}

#[test]
fn records_of_a_batch() {
    check(
        Settings::batch_records,
        Settings::set_batch_records,
        BATCH_RECORDS_DEFAULT,
        &[0, BATCH_RECORDS_MAX + 1, usize::MAX],
        &[1, BATCH_RECORDS_MAX],
    );
}

#[test]
fn policies_and_their_names() {
    let settings = &Engine::new().settings;
    assert_eq!(settings.policy(), Policy::Batch);
    for policy in Policy::ALL {
        settings.set_policy(policy);
        assert_eq!(settings.policy(), policy);
    }
    assert_eq!(Policy::ALL.map(Policy::name), ["record", "return", "batch"]);
}

#[test]
fn types_that_are_written_at_once() {
    let settings = &Engine::new().settings;
    assert_eq!(settings.at_once(), 0);
    settings.set_at_once(u32::MAX);
    assert_eq!(settings.at_once(), u32::MAX);
}
