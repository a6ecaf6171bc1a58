//! Messages and endpoints, as far as no other topic has them: values, endpoints, handles and
//! shared memory in messages, lazy channels, options, and errors of decoding.

#[path = "../harness/mod.rs"]
mod harness;

mod decoding;
mod duplicates;
mod endpoints;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod failed_moves;
#[cfg(unix)]
mod handles;
mod in_one_process;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod ipc_channel_defects;
mod lazy;
mod options;
mod shared_memory;
