//! One thread waits for many channels at once.
//!
//! A receiver set returns which of its members has a message, and which is disconnected. Members
//! are identified by the id that `add` returned.

use std::collections::HashMap;
use std::error::Error;
use std::thread;

use strait::ipc::{self, IpcReceiverSet, IpcSelectionResult};

fn main() -> Result<(), Box<dyn Error>> {
    let mut set = IpcReceiverSet::new()?;
    let mut sums = HashMap::new();
    let mut threads = Vec::new();
    for name in ["one", "two", "three"] {
        let (sender, receiver) = ipc::channel::<u32>()?;
        sums.insert(set.add(receiver)?, (name, 0));
        // Each sender is dropped at the end of its thread, which disconnects its channel.
        threads.push(thread::spawn(move || (1..=100).try_for_each(|number| sender.send(number))));
    }

    while !set.is_empty() {
        for event in set.select()? {
            match event {
                IpcSelectionResult::MessageReceived(id, message) => {
                    let number: u32 = message.to()?;
                    if let Some((_, sum)) = sums.get_mut(&id) {
                        *sum += number;
                    }
                }
                IpcSelectionResult::ChannelClosed(id) => {
                    if let Some((name, sum)) = sums.remove(&id) {
                        println!("{name}: {sum}");
                    }
                }
            }
        }
    }

    for thread in threads {
        thread.join().map_err(|_| "a sender panicked")??;
    }
    Ok(())
}
