//! Children that were killed and have not ended in time. The kernel keeps a process that is in an
//! uninterruptible system call, or that another process traces; a later call reaps it.

use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::platform::PerProcess;

/// Those of a parent are not this process's children.
static DYING: PerProcess<Mutex<Vec<Child>>> = PerProcess::of_nobody(Mutex::new(Vec::new()));

fn dying() -> MutexGuard<'static, Vec<Child>> {
    DYING.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a later call reap this child.
pub(super) fn add(child: Child) {
    dying().push(child);
}

/// Reaps those that have ended by now.
pub(super) fn reap() {
    dying().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
