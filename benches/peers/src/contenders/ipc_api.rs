//! strait and ipc-channel have one API, so one macro implements the traits for both, and
//! neither can be favoured.

use crate::contender::{
    Bytes, Channel, Contender, Fresh, Home, Link, Outcome, Payload, Receiver, Sender, Sets, Start,
};

/// `$channel` and `$bytes_channel` make the channels to be measured: a crate with a choice of
/// channels is a contender for each, by one more line below.
macro_rules! ipc_api {
    ($contender:ident, $name:literal, $krate:ident, $channel:path, $bytes_channel:path) => {
        pub struct $contender;

        impl Contender for $contender {
            const NAME: &'static str = $name;
            const HOME: Home = Home::Process;
        }

        impl<T: Payload> Channel<T> for $contender {
            type Sender = $krate::ipc::IpcSender<T>;
            type Receiver = $krate::ipc::IpcReceiver<T>;

            fn send(sender: &mut Self::Sender, value: T) -> Outcome<()> {
                Ok(sender.send(value)?)
            }

            fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<T>> {
                match receiver.recv() {
                    Ok(value) => Ok(Some(value)),
                    Err($krate::IpcError::Disconnected) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }

        impl<Up: Payload, Down: Payload> Link<Up, Down> for $contender {
            fn serve(start: Start<'_>) -> Outcome<(Sender<Self, Up>, Receiver<Self, Down>)> {
                let (server, name) = $krate::ipc::IpcOneShotServer::new()?;
                start(&name)?;
                let (_, ends) = server.accept()?;
                Ok(ends)
            }

            fn join(name: &str) -> Outcome<(Sender<Self, Down>, Receiver<Self, Up>)> {
                let server = $krate::ipc::IpcSender::connect(name.to_owned())?;
                let (up_sender, up_receiver) = $channel()?;
                let (down_sender, down_receiver) = $channel()?;
                server.send((up_sender, down_receiver))?;
                Ok((down_sender, up_receiver))
            }
        }

        impl Bytes for $contender {
            type Sender = $krate::ipc::IpcBytesSender;
            type Receiver = $krate::ipc::IpcBytesReceiver;

            fn serve(start: Start<'_>, _: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
                let (server, name) = $krate::ipc::IpcOneShotServer::new()?;
                start(&name)?;
                let (_, ends) = server.accept()?;
                Ok(ends)
            }

            fn join(name: &str, _: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
                let server = $krate::ipc::IpcSender::connect(name.to_owned())?;
                let (up_sender, up_receiver) = $bytes_channel()?;
                let (down_sender, down_receiver) = $bytes_channel()?;
                server.send((up_sender, down_receiver))?;
                Ok((down_sender, up_receiver))
            }

            fn send(sender: &mut Self::Sender, bytes: &[u8]) -> Outcome<()> {
                Ok(sender.send(bytes)?)
            }

            fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<Vec<u8>>> {
                match receiver.recv() {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err($krate::IpcError::Disconnected) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }

        impl<T: Payload> Fresh<T> for $contender {
            fn channel() -> Outcome<(Sender<Self, T>, Receiver<Self, T>)> {
                Ok($channel()?)
            }
        }

        impl<T: Payload> Sets<T> for $contender {
            type Set = $krate::ipc::IpcReceiverSet;

            fn set() -> Outcome<Self::Set> {
                Ok($krate::ipc::IpcReceiverSet::new()?)
            }

            fn add(set: &mut Self::Set, receiver: Receiver<Self, T>) -> Outcome<()> {
                set.add(receiver)?;
                Ok(())
            }

            fn select(
                set: &mut Self::Set,
                mut each: impl FnMut(T) -> Outcome<()>,
            ) -> Outcome<usize> {
                let mut closed = 0;
                for result in set.select()? {
                    match result {
                        $krate::ipc::IpcSelectionResult::MessageReceived(_, message) => {
                            each(message.to()?)?;
                        }
                        $krate::ipc::IpcSelectionResult::ChannelClosed(_) => closed += 1,
                    }
                }
                Ok(closed)
            }
        }
    };
}

ipc_api!(Strait, "strait", strait, strait::ipc::channel, strait::ipc::bytes_channel);
ipc_api!(
    StraitPerSender,
    "strait (per sender)",
    strait,
    per_sender::channel,
    per_sender::bytes_channel
);
ipc_api!(
    IpcChannel,
    "ipc-channel",
    ipc_channel,
    ipc_channel::ipc::channel,
    ipc_channel::ipc::bytes_channel
);

/// strait's channels without an order between senders.
mod per_sender {
    use std::io;

    use strait::ipc::{
        ChannelOptions, IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, Ordering,
    };

    use crate::contender::Payload;

    fn options() -> ChannelOptions {
        ChannelOptions::new().ordering(Ordering::PerSender)
    }

    pub fn channel<T: Payload>() -> io::Result<(IpcSender<T>, IpcReceiver<T>)> {
        options().channel()
    }

    pub fn bytes_channel() -> io::Result<(IpcBytesSender, IpcBytesReceiver)> {
        options().bytes_channel()
    }
}
