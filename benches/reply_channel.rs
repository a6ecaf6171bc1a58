//! A request to another process that carries the sender of a channel made for its reply.

mod child;

use std::process::ExitCode;

use criterion::Criterion;
use serde::{Deserialize, Serialize};
use strait::IpcError;
use strait::ipc::{self, IpcSender};

use crate::child::{Child, Outcome};

#[derive(Serialize, Deserialize)]
struct Request {
    number: u64,
    reply: IpcSender<u64>,
}

fn main() -> ExitCode {
    child::main(&[("serve", serve)], |criterion| {
        if let Err(error) = reply_channel(criterion) {
            panic!("{error}");
        }
    })
}

fn serve(server: &str) -> Outcome<()> {
    let (_open, receiver) = child::join::<Request, ()>(server)?;
    loop {
        match receiver.recv() {
            Ok(request) => request.reply.send(request.number + 1)?,
            Err(IpcError::Disconnected) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn reply_channel(criterion: &mut Criterion) -> Outcome<()> {
    let (child, sender, receiver) = Child::typed::<Request, ()>("serve")?;
    criterion.bench_function("reply_channel", |bencher| {
        child::measure(bencher, |rounds| {
            for number in 0..rounds {
                let (reply, replies) = ipc::channel()?;
                sender.send(Request { number, reply })?;
                if replies.recv()? != number + 1 {
                    return Err("the reply to another request".into());
                }
            }
            Ok(())
        });
    });
    drop((sender, receiver));
    child.finish()
}
