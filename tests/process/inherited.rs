//! What a child inherits: one file descriptor, whatever other threads do. No other process
//! inherits it.

#![allow(unsafe_code, clippy::disallowed_methods, reason = "the standard streams are closed")]

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use strait::process::ChannelCommand;

use super::*;
use crate::connected::{echo_command, end_echo, start_echo};
use crate::harness::OpenHandle;

/// A command for a child. Its only argument lists the handles that it inherits anyway: the
/// tests may have been started with more than the standard streams.
fn informed(function: &str) -> Command {
    let known = harness::handles().into_iter();
    let known = known.filter(|handle| handle.number > 2 && !handle.closes_on_exec);
    let known: Vec<String> = known.map(|handle| handle.number.to_string()).collect();
    harness::command(function, &[&known.join(",")])
}

/// The handles of this process besides the standard streams and those in its argument.
fn extra_handles(arguments: &[String]) -> Vec<OpenHandle> {
    let known = arguments.first().map_or("", String::as_str);
    let is_known = |number: i32| known.split(',').any(|known| known == number.to_string());
    // The handle in reserve of a process that receives was opened here, and not inherited.
    let is_reserve =
        |handle: &OpenHandle| handle.closes_on_exec && handle.what == "anon_inode:[eventfd]";
    let is_extra =
        |handle: &OpenHandle| handle.number > 2 && !is_known(handle.number) && !is_reserve(handle);
    harness::handles().into_iter().filter(is_extra).collect()
}

#[test]
fn child_without_channel() {
    child_main(|arguments| {
        assert_eq!(extra_handles(&arguments), []);
        assert_eq!(std::env::var_os("STRAIT_PARENT"), None);
        let error = process::parent::<(), ()>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("is not set"), "{error}");
    });
}

#[test]
fn child_with_channel() {
    child_main(|arguments| {
        let inherited = extra_handles(&arguments);
        assert_eq!(inherited.len(), 1, "{inherited:?}");
        assert!(inherited[0].what.starts_with("socket:"), "{inherited:?}");
        let (to_parent, _from_parent) = process::parent::<usize, ()>().unwrap();
        let handles = extra_handles(&arguments);
        assert!(!handles.iter().any(|handle| handle.what == inherited[0].what), "{handles:?}");
        // Two of the three handles in the first message are left.
        assert!(handles.iter().all(|handle| handle.closes_on_exec), "{handles:?}");
        to_parent.send(handles.len()).unwrap();
    });
}

fn start_child_with_channel(command: &mut Command) {
    let starting = command.start_with_channel::<(), usize>().unwrap();
    let (mut child, _to_child, from_child) = starting.connect(LONG).unwrap();
    assert_eq!(from_child.recv().unwrap(), 2);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(COMPLETED), "{status}");
}

#[test]
fn children_inherit_no_channel_of_others() {
    harness::alone(harness::path_of(children_inherit_no_channel_of_others), || {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let others = scope.spawn(|| {
                let function = harness::path_of(child_without_channel);
                let mut started = 0;
                while !is_over.load(Ordering::Relaxed) {
                    harness::start(function, &mut informed(function)).completed();
                    started += 1;
                }
                started
            });
            let with_channels = scope.spawn(|| {
                for _ in 0..100 {
                    start_child_with_channel(&mut informed(harness::path_of(child_with_channel)));
                }
            });
            let started = with_channels.join();
            is_over.store(true, Ordering::Relaxed);
            started.unwrap();
            assert!(others.join().unwrap() > 0);
        });
    });
}

/// Takes its channel, if it has one.
#[test]
fn child_with_or_without_channel() {
    child_main(|arguments| {
        let inherited = extra_handles(&arguments).len();
        match process::parent::<usize, ()>() {
            Ok((to_parent, _from_parent)) => {
                assert_eq!(inherited, 1);
                to_parent.send(2).unwrap();
            }
            Err(error) => {
                assert_eq!(inherited, 0);
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                assert_eq!(std::env::var_os("STRAIT_PARENT"), None);
            }
        }
    });
}

#[test]
fn a_command_can_be_used_again_with_a_channel_and_without() {
    // In a process of its own: handles that other tests open would get the numbers of inherited
    // ones, and be inherited themselves.
    harness::alone(
        harness::path_of(a_command_can_be_used_again_with_a_channel_and_without),
        || {
            let mut command = informed(harness::path_of(child_with_or_without_channel));
            for _ in 0..2 {
                start_child_with_channel(&mut command);
                start_child_with_channel(&mut command);
                // The new file descriptors get the number that the channel had.
                let files = [(); 20].map(|()| std::fs::File::open("/dev/null").unwrap());
                assert_eq!(command.status().unwrap().code(), Some(COMPLETED));
                drop(files);
            }
        },
    );
}

#[test]
fn a_command_that_starts_nothing_can_be_used_again() {
    let _watchdog = watchdog();
    let mut command = echo_command();
    command.current_dir("/nonexistent");
    command.spawn_with_channel::<(), ()>().unwrap_err();
    command.current_dir("/");
    end_echo(start_echo(&mut command));
}

#[test]
fn the_environment_of_a_command_stays_as_it_was() {
    let _watchdog = watchdog();
    let mut command = echo_command();
    command.env("SOMETHING", "else").env_remove("NOTHING").env("STRAIT_PARENT", "mine");
    let others = |command: &Command| {
        let is_ours = |name: &OsStr| name.as_encoded_bytes().starts_with(b"STRAIT_PARENT");
        let envs = command.get_envs().filter(|(name, _)| !is_ours(name));
        envs.map(|(name, value)| (name.to_owned(), value.map(Into::into)))
            .collect::<Vec<(_, Option<std::ffi::OsString>)>>()
    };
    let before = others(&command);
    end_echo(start_echo(&mut command));
    assert_eq!(others(&command), before);
    // The variables of strait are listed there as removed.
    assert!(command.get_envs().all(|(name, value)| {
        others(&command).iter().any(|other| other.0 == name) || value.is_none()
    }));
}

#[test]
fn a_command_with_the_environment_of_another_starts_a_process_with_a_channel() {
    let _watchdog = watchdog();
    let mut used = echo_command();
    end_echo(start_echo(&mut used));
    let mut command = Command::new(used.get_program());
    command.args(used.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, value) in used.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    for _ in 0..2 {
        end_echo(start_echo(&mut command));
    }
}

#[test]
fn the_environment_may_be_empty_otherwise() {
    let _watchdog = watchdog();
    let given = echo_command();
    let mut command = Command::new(given.get_program());
    command.args(given.get_args()).env_clear();
    for (name, value) in given.get_envs() {
        command.env(name, value.unwrap());
    }
    end_echo(start_echo(&mut command));
}

#[test]
fn intermediate_program_passes_the_channel_on() {
    let _watchdog = watchdog();
    let given = echo_command();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "\"$@\"; exit $?", "sh"]).arg(given.get_program()).args(given.get_args());
    command.envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
    end_echo(start_echo(&mut command));
}

/// Takes the inherited channel, and receives no message.
#[test]
fn child_with_a_receiver() {
    child_main(|arguments| {
        let inherited = extra_handles(&arguments);
        assert_eq!(inherited.len(), 1, "{inherited:?}");
        assert!(!inherited[0].closes_on_exec);
        let receiver = strait::internals::inherited().unwrap();
        let taken = extra_handles(&arguments);
        assert_eq!(taken.len(), 1, "{taken:?}");
        assert!(taken[0].closes_on_exec);
        drop(receiver);
        assert_eq!(extra_handles(&arguments), []);
    });
}

#[test]
fn standard_streams_may_be_closed() {
    harness::alone(harness::path_of(standard_streams_may_be_closed), || {
        for count in 1..=3 {
            for number in 0..count {
                // SAFETY: no thread uses them in between, and they are opened again below.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
            }
            // The inherited channel may have one of these numbers, too.
            let (sender, receiver) = strait::internals::channel().unwrap();
            let number = receiver.as_fd().as_raw_fd();
            assert!(count == 1 || number < 3, "{number}");
            let mut command = informed(harness::path_of(child_with_a_receiver));
            let (mut child, _bequest) =
                strait::internals::spawn_with(&mut command, receiver).unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.code(), Some(COMPLETED), "{status}");
            drop(sender);
            end_echo(start_echo(&mut echo_command()));
            start_child_with_channel(&mut informed(harness::path_of(child_with_channel)));
            for number in 0..count {
                let file = std::fs::File::options().read(true).write(true).open("/dev/null");
                let file = OwnedFd::from(file.unwrap());
                assert_eq!(file.as_raw_fd(), number);
                // A standard stream again, which has no owner.
                let _: i32 = file.into_raw_fd();
            }
        }
    });
}
