//! The crates that are measured. A further one is a file here, and its name in the rows it can do.
//!
//! crossmist is not among them. Its 1.1.2 finds out whether a type is plain data by whether the
//! clone of an array calls the elements' `clone`. In the library of Rust 1.95 it does although
//! they are `Copy`: no type is plain, and sending a number panics. Earlier versions have the
//! same test, or need a nightly compiler.

mod bounded;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod iceoryx2;
#[cfg(target_os = "linux")]
mod inherit;
#[cfg(target_os = "linux")]
mod interprocess;
mod ipc_api;
mod memcpy;
#[cfg(target_os = "linux")]
mod polling;
mod server;
mod threads;

pub use self::{
    bounded::StraitBounded,
    ipc_api::{IpcChannel, Strait, StraitPerSender},
    memcpy::Memcpy,
    threads::{StraitThreads, StraitThreadsBounded, Threads, ThreadsBounded},
};
#[cfg(target_os = "linux")]
pub use self::{
    floor::Floor,
    iceoryx2::{Events, Iceoryx2},
    interprocess::Interprocess,
    polling::Polling,
};
