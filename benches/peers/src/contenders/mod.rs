//! The crates that are measured. A further one is a file here and an `.on::<…>()` on the rows it can do.

mod ipc_api;
mod threads;

pub use ipc_api::{IpcChannel, Strait};
pub use threads::Threads;
