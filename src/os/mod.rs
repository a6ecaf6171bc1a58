//! What only some operating systems have.
//!
//! # Platform
//!
//! On Linux there is `os::unix`. On other systems, and with the feature `force-inprocess`, this
//! module is empty so far.
//!
//! # Examples
//!
//! See `os::unix`.

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
pub mod unix;
