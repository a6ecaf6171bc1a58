//! strait and ipc-channel have one API, so one macro implements the traits for both, and neither can be favoured.

use crate::contender::{Bytes, Contender, Fresh, Home, Outcome, Payload, Sets, Start, Typed};

macro_rules! ipc_api {
    ($contender:ident, $name:literal, $krate:ident) => {
        pub struct $contender;

        impl Contender for $contender {
            const NAME: &'static str = $name;
            const HOME: Home = Home::Process;
        }

        impl Typed for $contender {
            type Sender<T: Payload> = $krate::ipc::IpcSender<T>;
            type Receiver<T: Payload> = $krate::ipc::IpcReceiver<T>;

            fn serve<Up: Payload, Down: Payload>(
                start: Start<'_>,
            ) -> Outcome<(Self::Sender<Up>, Self::Receiver<Down>)> {
                let (server, name) = $krate::ipc::IpcOneShotServer::new()?;
                start(&name)?;
                let (_, ends) = server.accept()?;
                Ok(ends)
            }

            fn join<Up: Payload, Down: Payload>(
                name: &str,
            ) -> Outcome<(Self::Sender<Down>, Self::Receiver<Up>)> {
                let server = $krate::ipc::IpcSender::connect(name.to_owned())?;
                let (up_sender, up_receiver) = $krate::ipc::channel::<Up>()?;
                let (down_sender, down_receiver) = $krate::ipc::channel::<Down>()?;
                server.send((up_sender, down_receiver))?;
                Ok((down_sender, up_receiver))
            }

            fn send<T: Payload>(sender: &Self::Sender<T>, value: T) -> Outcome<()> {
                Ok(sender.send(value)?)
            }

            fn recv<T: Payload>(receiver: &Self::Receiver<T>) -> Outcome<Option<T>> {
                match receiver.recv() {
                    Ok(value) => Ok(Some(value)),
                    Err($krate::IpcError::Disconnected) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }

        impl Bytes for $contender {
            type Sender = $krate::ipc::IpcBytesSender;
            type Receiver = $krate::ipc::IpcBytesReceiver;

            fn serve(start: Start<'_>) -> Outcome<(Self::Sender, Self::Receiver)> {
                let (server, name) = $krate::ipc::IpcOneShotServer::new()?;
                start(&name)?;
                let (_, ends) = server.accept()?;
                Ok(ends)
            }

            fn join(name: &str) -> Outcome<(Self::Sender, Self::Receiver)> {
                let server = $krate::ipc::IpcSender::connect(name.to_owned())?;
                let (up_sender, up_receiver) = $krate::ipc::bytes_channel()?;
                let (down_sender, down_receiver) = $krate::ipc::bytes_channel()?;
                server.send((up_sender, down_receiver))?;
                Ok((down_sender, up_receiver))
            }

            fn send(sender: &Self::Sender, bytes: &[u8]) -> Outcome<()> {
                Ok(sender.send(bytes)?)
            }

            fn recv(receiver: &Self::Receiver) -> Outcome<Option<Vec<u8>>> {
                match receiver.recv() {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err($krate::IpcError::Disconnected) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }

        impl Fresh for $contender {
            fn channel<T: Payload>() -> Outcome<(Self::Sender<T>, Self::Receiver<T>)> {
                Ok($krate::ipc::channel()?)
            }
        }

        impl Sets for $contender {
            type Set = $krate::ipc::IpcReceiverSet;

            fn set() -> Outcome<Self::Set> {
                Ok($krate::ipc::IpcReceiverSet::new()?)
            }

            fn add<T: Payload>(set: &mut Self::Set, receiver: Self::Receiver<T>) -> Outcome<()> {
                set.add(receiver)?;
                Ok(())
            }

            fn select<T: Payload>(
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

ipc_api!(Strait, "strait", strait);
ipc_api!(IpcChannel, "ipc-channel", ipc_channel);
