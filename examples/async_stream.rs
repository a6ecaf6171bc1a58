//! A receiver as an asynchronous stream, on any executor.
//!
//! Run it with `cargo run --example async_stream --features async`.

use std::error::Error;
use std::thread;

use futures_lite::future::{block_on, zip};
use futures_lite::{Stream, StreamExt};
use strait::ipc;
use strait::{IpcError, SerDeError};

fn main() -> Result<(), Box<dyn Error>> {
    let (numbers_sender, numbers) = ipc::channel::<u32>()?;
    let (squares_sender, squares) = ipc::channel::<u32>()?;
    let sender = thread::spawn(move || -> Result<(), IpcError> {
        for number in 1..=10 {
            numbers_sender.send(number)?;
            squares_sender.send(number * number)?;
        }
        Ok(())
    });

    // This thread waits for both streams at once, and reads from each that has an item.
    let (numbers, squares) = block_on(zip(sum(numbers.to_stream()), sum(squares.to_stream())));
    println!("the numbers add up to {}, their squares to {}", numbers?, squares?);

    sender.join().map_err(|_| "the sender panicked")??;
    Ok(())
}

/// Adds up the items, until the stream ends because all senders have been dropped.
async fn sum(
    mut numbers: impl Stream<Item = Result<u32, SerDeError>> + Unpin,
) -> Result<u32, SerDeError> {
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        sum += number?;
    }
    Ok(sum)
}
