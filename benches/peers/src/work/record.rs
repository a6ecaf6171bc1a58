//! The values that are sent. Each has a flag for the last one of its sample, so that the far
//! side knows when to answer and the channel carries nothing else.

#[cfg(target_os = "linux")]
use iceoryx2::prelude::ZeroCopySend;
use serde::{Deserialize, Serialize};

pub trait Value: Sized + 'static {
    fn make(last: bool) -> Self;

    fn is_last(&self) -> bool;
}

/// 16 bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(target_os = "linux", derive(ZeroCopySend))]
#[repr(C)]
pub struct Small {
    last: u64,
    value: f64,
}

impl Value for Small {
    fn make(last: bool) -> Self {
        Self { last: last.into(), value: 21.5 }
    }

    fn is_last(&self) -> bool {
        self.last == 1
    }
}

/// 60 bytes once serialised with fixed widths, in fields as a real message has them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(target_os = "linux", derive(ZeroCopySend))]
#[repr(C)]
pub struct Record {
    id: u64,
    time: u64,
    position: [f64; 2],
    key: [u8; 16],
    flags: u32,
    count: u32,
    last: u32,
}

impl Value for Record {
    fn make(last: bool) -> Self {
        Self {
            id: 7_000_001,
            time: 1_700_000_000_000_000_000,
            position: [48.2, 16.4],
            key: *b"0123456789abcdef",
            flags: 5,
            count: 1_000,
            last: last.into(),
        }
    }

    fn is_last(&self) -> bool {
        self.last == 1
    }
}

/// 64 KiB, made anew for each message: a typed `send` takes its value.
impl Value for Vec<u8> {
    fn make(last: bool) -> Self {
        vec![last.into(); 64 * 1024]
    }

    fn is_last(&self) -> bool {
        self.first() == Some(&1)
    }
}
