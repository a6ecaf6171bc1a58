//! Servers with names. A server of ipc-channel is for one client, so this makes one for each.

use strait::ipc::{IpcServer, ServerName};

use super::{IpcChannel, Strait};
use crate::contender::{Meets, Outcome};

impl Meets for Strait {
    type Server = (IpcServer<u64, u64>, ServerName);

    fn server() -> Outcome<Self::Server> {
        let path = std::env::temp_dir().join(format!("strait-peers-{}", std::process::id()));
        let name = ServerName::Path(path);
        Ok((IpcServer::bind(name.clone())?, name))
    }

    fn meet((server, name): &mut Self::Server) -> Outcome<()> {
        let (to_server, answers) = strait::ipc::connect::<u64, u64>(&*name)?;
        to_server.send(1)?;
        let served = server.accept()?;
        served.sender.send(served.receiver.recv()? + 1)?;
        match answers.recv()? {
            2 => Ok(()),
            other => Err(format!("{other} instead of 2").into()),
        }
    }
}

impl Meets for IpcChannel {
    type Server = ();

    fn server() -> Outcome<()> {
        Ok(())
    }

    fn meet((): &mut ()) -> Outcome<()> {
        type First = (ipc_channel::ipc::IpcSender<u64>, u64);

        let (server, name) = ipc_channel::ipc::IpcOneShotServer::<First>::new()?;
        let (back, answers) = ipc_channel::ipc::channel::<u64>()?;
        ipc_channel::ipc::IpcSender::<First>::connect(name)?.send((back, 1))?;
        let (_receiver, (back, number)) = server.accept()?;
        back.send(number + 1)?;
        match answers.recv()? {
            2 => Ok(()),
            other => Err(format!("{other} instead of 2").into()),
        }
    }
}
