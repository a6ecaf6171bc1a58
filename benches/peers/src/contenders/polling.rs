//! How those wait that cannot sleep until something happens.

use std::hint;
use std::thread;

#[derive(Default)]
pub struct Polling(u32);

impl Polling {
    /// Passes a moment. Says once in a while that it is time to see whether the other side is
    /// still there; and then gives up the processor, which the other side may need.
    pub fn pause(&mut self) -> bool {
        self.0 = self.0.wrapping_add(1);
        let long = self.0.is_multiple_of(1024);
        if long {
            thread::yield_now();
        } else {
            hint::spin_loop();
        }
        long
    }
}
