//! A request brings along the sender for its own answer.
//!
//! The server knows none of its clients, and no answer can go astray: it arrives where the question says. The server is
//! a thread here, to keep this short. In another process it would be the same; `hello.rs` shows how to start one.

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

    // The server ends when nobody can ask any more.
    drop(requests);
    server.join().map_err(|_| "the server panicked")?;
    println!("the server has ended");
    Ok(())
}

fn ask(server: &IpcSender<Request>, number: u64) -> Result<u64, IpcError> {
    let (answer, answers) = ipc::channel()?;
    server.send(Request { number, answer })?;
    // If the server dies instead of answering, the only sender dies with it, and this is an error.
    answers.recv()
}

fn serve(incoming: &IpcReceiver<Request>) {
    for Request { number, answer } in incoming.iter() {
        // A client that doesn't wait for its answer any more is not the server's concern.
        let _ = answer.send(number * number);
    }
}
