//! Many receivers at once: receiver sets, pollers of the system, the router, and streams.

#[path = "../harness/mod.rs"]
mod harness;

mod members;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod pollable;
mod router;
#[cfg(feature = "async")]
mod streams;
