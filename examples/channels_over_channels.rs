//! Each request contains the sender for its own answer.
//!
//! The server knows none of its clients, and no answer reaches the wrong one: it is sent to the
//! channel that the request names. The server is a thread here, to keep this short. It would be the
//! same in another process; `hello.rs` shows how to start one.

use std::error::Error;
use std::thread;

use serde::{Deserialize, Serialize};
use strait::IpcError;
use strait::ipc::{self, IpcReceiver, IpcSender};

#[derive(Serialize, Deserialize)]
struct Request {
    number: u64,
    answer: IpcSender<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (requests, incoming) = ipc::channel()?;
    let server = thread::spawn(move || serve(&incoming));

    for number in [2, 3, 4] {
        println!("{number} squared is {}", ask(&requests, number)?);
    }

    // The server ends when all senders of requests have been dropped.
    drop(requests);
    server.join().map_err(|_| "the server panicked")?;
    println!("the server has ended");
    Ok(())
}

fn ask(server: &IpcSender<Request>, number: u64) -> Result<u64, IpcError> {
    let (answer, answers) = ipc::channel()?;
    server.send(Request { number, answer })?;
    // If the server ends instead of answering, the only sender is dropped with it. Then this fails.
    answers.recv()
}

fn serve(incoming: &IpcReceiver<Request>) {
    for Request { number, answer } in incoming.iter() {
        // If the client no longer waits for its answer, the server ignores the error.
        let _ = answer.send(number * number);
    }
}
