//! What channels without a bound do. `mpsc` is the one that is tested.

mod ends;
mod iterators;
mod once;
mod threads;
mod timeouts;
mod values;

use super::mpsc;
use crate::LONG;
use crate::harness::watchdog;
