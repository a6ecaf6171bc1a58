//! Children that were killed and did not end in time. The kernel keeps a process that is in an
//! uninterruptible system call, or that another process traces. A later call reaps it.

use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::platform::PerProcess;

/// The killed children of this process. Those of its parent are not its children.
static DYING: PerProcess<Mutex<Vec<Child>>> = PerProcess::of_no_process(Mutex::new(Vec::new()));

fn dying() -> MutexGuard<'static, Vec<Child>> {
    DYING.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves this child for a later call to reap.
pub(super) fn add(child: Child) {
    dying().push(child);
}

/// Reaps the children that have ended by now.
pub(super) fn reap() {
    dying().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
