//! Cases of unbounded channels. `mpsc` is the module under test.

mod ends;
mod iterators;
mod once;
mod threads;
mod timeouts;
mod values;

use super::mpsc;
use crate::LONG;
use crate::harness::watchdog;
