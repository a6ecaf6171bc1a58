//! A server to which other processes connect by its name.
//!
//! It hands out numbered tickets, each number once. The server waits in one receiver set for new
//! clients and for the requests of all its clients. It starts this program three times to have
//! clients.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::process::{self, Command};

use serde::{Deserialize, Serialize};
use strait::ipc::{self, IpcConnection, IpcReceiverSet, IpcSelectionResult, IpcServer};

#[derive(Serialize, Deserialize)]
struct Request {
    tickets: u32,
}

#[derive(Serialize, Deserialize)]
struct Tickets(Vec<u32>);

const CLIENTS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    if !strait::process::is_supported() {
        return Err("channels do not leave the process on this platform".into());
    }
    match env::args().nth(1) {
        None => serve(),
        Some(name) => request(&name),
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    // A real server has a name that all clients know.
    let name = format!("tickets-{}", process::id());
    let mut set = IpcReceiverSet::new()?;
    let server = set.add_server(IpcServer::<Tickets, Request>::bind(name.as_str())?)?;
    let children = (0..CLIENTS)
        .map(|_| Command::new(env::current_exe()?).arg(&name).spawn())
        .collect::<Result<Vec<_>, _>>()?;

    let (mut clients, mut served, mut next) = (HashMap::new(), 0, 1);
    while served < CLIENTS {
        for event in set.select()? {
            match event {
                IpcSelectionResult::MessageReceived(id, message) if id == server => {
                    let client: IpcConnection<Tickets, Request> = message.to()?;
                    clients.insert(set.add(client.receiver)?, client.sender);
                }
                IpcSelectionResult::MessageReceived(id, message) => {
                    // An invalid request, or one of a client that has disconnected, is ignored.
                    if let (Ok(Request { tickets }), Some(client)) =
                        (message.to(), clients.get(&id))
                    {
                        let end = next + tickets;
                        if client.send(Tickets((next..end).collect())).is_ok() {
                            next = end;
                        }
                    }
                }
                IpcSelectionResult::ChannelClosed(id) => {
                    clients.remove(&id);
                    served += 1;
                }
            }
        }
    }
    println!("server: {} tickets for {served} clients", next - 1);

    for mut child in children {
        if !child.wait()?.success() {
            return Err("a client failed".into());
        }
    }
    Ok(())
}

fn request(name: &str) -> Result<(), Box<dyn Error>> {
    let (requests, answers) = ipc::connect::<Request, Tickets>(name)?;
    let mut numbers = Vec::new();
    for tickets in [1, 3] {
        requests.send(Request { tickets })?;
        numbers.extend(answers.recv()?.0);
    }
    let are_in_order = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    println!("client: {} tickets, in order: {are_in_order}", numbers.len());
    Ok(())
}
