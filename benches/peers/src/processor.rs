//! A processor for each side, when asked for. The processors of two processes affect a round
//! trip more than the channel between them. On an idle machine, pinning removes that difference
//! between runs; on a busy one it does harm, because a pinned process cannot move to an idle
//! processor.

use std::sync::OnceLock;

use crate::contender::Outcome;

static FAR: OnceLock<usize> = OnceLock::new();

/// Keeps the calling thread to one processor, and reserves another for the far sides. Does
/// nothing where there is only one, or no call for it.
#[cfg(target_os = "linux")]
pub fn split() -> Outcome<()> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let allowed = sched_getaffinity(None)?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor));
    if let Some((near, far)) = allowed.next().zip(allowed.next()) {
        FAR.get_or_init(|| far);
        keep_to(near)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn split() -> Outcome<()> {
    Ok(())
}

/// The processor that [`split`] reserved.
pub fn far() -> Option<usize> {
    FAR.get().copied()
}

/// Keeps the calling thread, and what it starts from now on, to a processor.
#[cfg(target_os = "linux")]
pub fn keep_to(processor: usize) -> Outcome<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut only = CpuSet::new();
    if processor >= CpuSet::MAX_CPU {
        return Err(format!("no processor {processor}").into());
    }
    only.set(processor);
    sched_setaffinity(None, &only)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn keep_to(_: usize) -> Outcome<()> {
    Ok(())
}
