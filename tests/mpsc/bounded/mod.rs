//! Cases of bounded channels, bound 0 included. `mpsc` is the module under test.

mod ends;
mod rendezvous;
mod room;
mod threads;

use super::mpsc;
use crate::LONG;
use crate::harness::watchdog;
