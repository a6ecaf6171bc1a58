//! All short programs on one thread, on std's channels and on strait's: each step has the
//! same outcome.
//!
//! Endpoints are also sent through other channels, where std moves a value and strait encodes
//! and decodes the endpoints.

use crate::harness::watchdog;

/// The number of steps of a program: all sequences of so many are run.
const STEPS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Send,
    TryRecv,
    Drain,
    Clone,
    DropSender,
    DropReceiver,
    SendSender,
    SendReceiver,
}

const ALL: [Step; 8] = [
    Step::Send,
    Step::TryRecv,
    Step::Drain,
    Step::Clone,
    Step::DropSender,
    Step::DropReceiver,
    Step::SendSender,
    Step::SendReceiver,
];

/// The outcome of a step.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Sent(Result<(), std::sync::mpsc::TrySendError<u32>>),
    Received(Result<u32, std::sync::mpsc::TryRecvError>),
    Drained(Vec<u32>),
}

macro_rules! runner {
    ($name:ident, $mpsc:path, $bound:ident => $channel:expr, $send:ident) => {
        /// Runs a program, and at its end receives what is left; `None` if a step has no
        /// endpoint to be done with.
        fn $name(program: &[Step], $bound: usize) -> Option<Vec<Seen>> {
            use $mpsc as mpsc;

            let (sender, receiver) = $channel;
            let mut senders = vec![sender];
            let mut receiver = Some(receiver);
            let mut seen = Vec::new();
            for (number, step) in (0..).zip(program) {
                match step {
                    Step::Send => {
                        let sent = senders.last()?.$send(number);
                        seen.push(Seen::Sent(sent.map_err(mpsc::TrySendError::from)));
                    }
                    Step::TryRecv => seen.push(Seen::Received(receiver.as_ref()?.try_recv())),
                    Step::Drain => {
                        let drained = receiver.as_ref()?.try_iter().collect();
                        seen.push(Seen::Drained(drained));
                    }
                    Step::Clone => senders.push(senders.last()?.clone()),
                    Step::DropSender => drop(senders.pop()?),
                    Step::DropReceiver => drop(receiver.take()?),
                    Step::SendSender => {
                        let (outer, inbox) = mpsc::channel();
                        outer.send(senders.pop()?).unwrap();
                        senders.push(inbox.recv().unwrap());
                    }
                    Step::SendReceiver => {
                        let (outer, inbox) = mpsc::channel();
                        outer.send(receiver.take()?).unwrap();
                        receiver = Some(inbox.recv().unwrap());
                    }
                }
            }
            if let Some(sender) = senders.last() {
                let sent = sender.$send(100);
                seen.push(Seen::Sent(sent.map_err(mpsc::TrySendError::from)));
            }
            if let Some(receiver) = receiver {
                seen.push(Seen::Drained(receiver.try_iter().collect()));
                seen.push(Seen::Received(receiver.try_recv()));
                drop(senders);
                seen.push(Seen::Received(receiver.try_recv()));
            }
            Some(seen)
        }
    };
}

runner!(on_std, std::sync::mpsc, _bound => mpsc::channel::<u32>(), send);
runner!(on_strait, strait::mpsc, _bound => mpsc::channel::<u32>(), send);
runner!(bounded_on_std, std::sync::mpsc, bound => mpsc::sync_channel::<u32>(bound), try_send);
runner!(bounded_on_strait, strait::mpsc, bound => mpsc::sync_channel::<u32>(bound), try_send);

type Runner = fn(&[Step], usize) -> Option<Vec<Seen>>;

fn compare(steps: usize, bound: usize, on_std: Runner, on_strait: Runner) {
    let mut programs = 0;
    for number in 0..ALL.len().pow(steps as u32) {
        let program: Vec<Step> =
            (0..steps as u32).map(|step| ALL[number / ALL.len().pow(step) % ALL.len()]).collect();
        if let Some(expected) = on_std(&program, bound) {
            assert_eq!(on_strait(&program, bound), Some(expected), "{program:?}");
            programs += 1;
        }
    }
    // Less than half of the programs use an endpoint that was dropped before.
    assert!(2 * programs > ALL.len().pow(steps as u32) / 2, "{programs}");
}

#[test]
fn every_short_program_has_the_outcomes_of_std() {
    let _watchdog = watchdog();
    compare(STEPS, 0, on_std, on_strait);
}

#[test]
fn every_short_program_with_a_bound_has_the_outcomes_of_std() {
    let _watchdog = watchdog();
    for bound in 0..3 {
        compare(STEPS - 1, bound, bounded_on_std, bounded_on_strait);
    }
}
