//! What only some operating systems have.

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod unix;
