//! The wait of contenders that cannot sleep until a message arrives.

use std::hint;
use std::thread;

#[derive(Default)]
pub struct Polling(u32);

impl Polling {
    /// Waits for a moment. Once in a while, it returns that it is time to check whether the
    /// other process exists, and yields the processor, which that may need.
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
