//! strait's channels that hold no more than `N` messages, between processes; with none, each is
//! handed over. ipc-channel has no such channels.

use strait::ipc::{IpcOneShotServer, IpcSender};
use strait::mpsc;

use crate::contender::{Channel, Contender, Home, Link, Outcome, Payload, Receiver, Sender, Start};

/// strait's between processes.
pub struct StraitBounded<const N: usize>;

impl<const N: usize> Contender for StraitBounded<N> {
    const NAME: &'static str = "strait";
    const HOME: Home = Home::Process;
}

impl<T: Payload, const N: usize> Channel<T> for StraitBounded<N> {
    type Sender = mpsc::SyncSender<T>;
    type Receiver = mpsc::Receiver<T>;

    fn send(sender: &mut Self::Sender, value: T) -> Outcome<()> {
        Ok(sender.send_ref(&value)?)
    }

    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<T>> {
        Ok(receiver.recv().ok())
    }
}

impl<Up: Payload, Down: Payload, const N: usize> Link<Up, Down> for StraitBounded<N> {
    fn serve(start: Start<'_>) -> Outcome<(Sender<Self, Up>, Receiver<Self, Down>)> {
        let (server, name) = IpcOneShotServer::new()?;
        start(&name)?;
        let (_, ends) = server.accept()?;
        Ok(ends)
    }

    fn join(name: &str) -> Outcome<(Sender<Self, Down>, Receiver<Self, Up>)> {
        let server = IpcSender::connect(name.to_owned())?;
        let (up_sender, up_receiver) = mpsc::sync_channel::<Up>(N);
        let (down_sender, down_receiver) = mpsc::sync_channel::<Down>(N);
        server.send((up_sender, down_receiver))?;
        Ok((down_sender, up_receiver))
    }
}
