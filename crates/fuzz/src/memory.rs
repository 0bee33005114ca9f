//! Counts what a decoder allocates.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What the test runner's own threads may take meanwhile: a line of output.
const OTHERS: usize = 4096;

/// Runs `work`, which may hold at most `max` bytes more than were held before,
/// at any time. Counts for the whole process: nothing else may run beside it.
///
/// # Panics
/// If it held more.
pub fn bounded<T>(max: usize, work: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let done = work();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(peak <= max + OTHERS, "{peak} bytes were allocated, {max} are justified");
    done
}
