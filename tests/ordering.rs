//! The order in which messages from several rings and a socket are received, and the wake-ups
//! of the receiver: small models, explored exhaustively. The choice of the next message is no
//! model: it is the crate's own code. `ordering/algorithm.rs` is the algorithm, step by step;
//! here it is shown that the steps suffice, that none of them can be left out, and which
//! alternatives exist.
//!
//! Run with `--nocapture` to see the shortest counterexample of each change.

mod ordering {
    pub(crate) mod algorithm;
    pub(crate) mod explorer;
    pub(crate) mod merge;
    pub(crate) mod scenarios;
    pub(crate) mod wake;
}

use std::time::Instant;

use ordering::algorithm::Change::{Before, Exchanged, Instead, Without};
use ordering::algorithm::Step::*;
use ordering::algorithm::{Algorithm, Change};
use ordering::explorer::{Counterexample, Explored, explore};
use ordering::merge::{self, Merge};
use ordering::scenarios;
use ordering::wake::{self, Wake};

/// Changes to the algorithm, each with a scenario in which it breaks a guarantee.
const BROKEN: &[(&[Change], &str)] = &[
    // Sending.
    (&[Without(TakeLock)], "two threads of one process"),
    (&[Before(ReleaseLock, WriteRecord)], "two threads of one process"),
    (&[Before(ReleaseLock, PublishBySwap)], "ring retired between two threads"),
    (&[Without(Stamp)], "a chain of dependent sends through three rings"),
    (&[Before(PublishBySwap, Stamp)], "two on the socket, one ring"),
    (&[Without(StampAboveLast)], "equal stamps in one process"),
    (&[Without(AnnounceRing)], "ring attached after a message on the socket"),
    (&[Without(WriteRecord)], "end with data in a ring"),
    (&[Before(WriteRecord, LeaveClosedRing)], "end with data in a ring"),
    (&[Without(PublishBySwap)], "end with data in a ring"),
    (&[Instead(PublishBySwap, PublishByLoadThenStore)], "ring retired"),
    (&[Instead(PublishBySwap, PublishByLoadThenStore)], "one ring"),
    (&[Without(LeaveClosedRing)], "ring retired"),
    (&[Without(SendBySocketOtherwise)], "ring retired"),
    (&[Instead(SendBySocketOtherwise, SendBySocketUnstamped)], "ring retired"),
    (&[Without(RingBell)], "one ring"),
    (&[Before(RingBell, PublishBySwap)], "one ring"),
    (&[Before(ReleaseLock, RingBell)], "two threads of a process that dies"),
    (&[Without(ReleaseLock)], "socket only"),
    // Receiving.
    (&[Without(ScanA)], "two on the socket, one ring"),
    (&[Before(ReadAllOfSocket, ScanA)], "two on the socket, one ring"),
    (&[Exchanged(ScanA, ScanB)], "two on the socket, one ring"),
    (&[Without(ReadAllOfSocket)], "socket only"),
    (&[Instead(ReadAllOfSocket, ReadOneFrame)], "ring attached between the messages of others"),
    (&[Without(ScanB)], "end with data in a ring"),
    (&[Before(ScanB, ReadAllOfSocket)], "two on the socket, one ring"),
    (&[Without(ScanNewRings)], "ring attached after a message on the socket"),
    (&[Without(PickLeast)], "two on the socket, one ring"),
    (&[Without(ConfirmNewArrival)], "three rings"),
    (&[Without(EofNeedsEmptyB)], "end with data in a ring"),
    // Reading less of the socket: the receiver looks at more after each message, and a false
    // stamp reorders other senders' messages.
    (&[Instead(ReadAllOfSocket, ReadSocketUntilData)], "two on the socket, one ring"),
    (
        &[Instead(ReadAllOfSocket, ReadSocketUntilData), Before(RefillLookAhead, EofNeedsEmptyB)],
        "two on the socket, one ring",
    ),
    (LOOK_AHEAD, "a false stamp in the socket"),
    (
        &[
            Instead(ReadAllOfSocket, ReadSocketAndClock),
            Before(RecheckAfterLookAhead, EofNeedsEmptyB),
        ],
        "a false stamp in the socket",
    ),
    (&[Instead(ReadAllOfSocket, ReadSocketUntilFull)], "two on the socket with more, one ring"),
    (READ_UNTIL_FULL, "two false stamps in the socket"),
    // Retiring a ring.
    (&[Without(CloseByFetchOr)], "ring retired"),
    (&[Instead(CloseByFetchOr, CloseByLoadThenStore)], "ring retired"),
    (&[Without(DrainToFinal)], "ring retired"),
    // Waiting.
    (&[Without(ArmByCas)], "one ring"),
    (&[Instead(ArmByCas, ArmByLoadThenStore)], "one ring"),
    (&[Instead(ArmByCas, ArmByFlag), Instead(RingBell, RingBellByFlag)], "one ring"),
    (&[Instead(ArmByCas, ArmByFlag), Instead(RingBell, RingBellByFenceAndFlag)], "one ring"),
    (
        &[
            Instead(PublishBySwap, PublishByLoadThenStore),
            Instead(ArmByCas, ArmByFlagAndFence),
            Instead(RingBell, RingBellByFlag),
        ],
        "one ring",
    ),
    (
        &[Instead(ArmByCas, ArmByFlagAndFence), Instead(RingBell, RingBellByFenceAndFlag)],
        "one ring",
    ),
    (&[Instead(ArmByCas, ArmByFlag), Instead(RingBell, RingBellBySwapOfFlag)], "one ring"),
    (&[Without(HeedFailedCas)], "one ring"),
    (&[Without(MarkedIsArmed)], "one ring"),
    (&[Without(BlockOnSocket)], "one ring"),
    (&[Before(BlockOnSocket, ArmByCas)], "one ring"),
];

/// At most one message of the socket is read ahead.
const LOOK_AHEAD: &[Change] =
    &[Instead(ReadAllOfSocket, ReadSocketUntilData), Before(RecheckAfterLookAhead, EofNeedsEmptyB)];

/// At most as many messages of the socket are read ahead as there is room for.
const READ_UNTIL_FULL: &[Change] =
    &[Instead(ReadAllOfSocket, ReadSocketUntilFull), Before(RecheckUnlessAllRead, EofNeedsEmptyB)];

/// Changes with which all guarantees hold for honest senders.
const ENOUGH_AS_WELL: &[&[Change]] = &[
    // The clock may be read before the lock is taken.
    &[Before(Stamp, TakeLock)],
    // The lock may be held while sending by the socket.
    &[Before(SendBySocketOtherwise, ReleaseLock)],
    // A ring may be announced when it has records already.
    &[Before(AnnounceRing, LeaveClosedRing)],
    // A message that a closed ring did not take may get a later stamp, under the lock.
    &[
        Instead(SendBySocketOtherwise, SendBySocketStampedAnew),
        Before(SendBySocketStampedAnew, ReleaseLock),
    ],
    // A may be less than what is published: it may be old, or of one ring only. The positions
    // found while spinning suffice.
    &[Instead(ScanA, ScanSomeOfA)],
    &[Instead(ScanA, NothingInA)],
    // A message may be read from the socket before A: by a receiver that slept on it. (An empty
    // socket proves nothing.)
    &[Before(ReadOneFrame, ScanA)],
    // Frames that arrive in the socket after A need not be read.
    &[Instead(ReadAllOfSocket, ReadAllOfSocketAsOfA)],
    // Not all that is in the socket need be read if it is read again after each message of it,
    // as long as all stamps are honest.
    READ_UNTIL_FULL,
    LOOK_AHEAD,
    &[Instead(ReadAllOfSocket, ReadSocketAsOfA), Before(RecheckAfterLookAhead, EofNeedsEmptyB)],
    // A flag beside the tail, with all fences and a swap, loses no wake-up either. It costs the
    // sender a second read-modify-write.
    &[Instead(ArmByCas, ArmByFlagAndFence), Instead(RingBell, RingBellBySwapOfFlag)],
];

/// The same for the algorithm that keeps the order of each sender: changes of steps that both
/// algorithms have, and of others.
const BROKEN_PER_SENDER: &[(&[Change], &str)] = &[
    (&[Without(TakeLock)], "two threads of one process"),
    (&[Without(StampAboveLast)], "ring and socket in turn"),
    (&[Without(AnnounceRing)], "ring attached between messages on the socket"),
    (&[Without(WriteRecord)], "ring and socket in turn"),
    (&[Without(PublishBySwap)], "ring and socket in turn"),
    (&[Without(RingBell)], "one ring"),
    (&[Without(LeaveClosedRing)], "ring retired between socket and ring"),
    (&[Without(ReleaseLock)], "ring and socket in turn"),
    (&[Without(SendBySocketOtherwise)], "ring retired between socket and ring"),
    (&[Instead(SendBySocketOtherwise, SendBySocketUnstamped)], "ring retired"),
    (&[Without(TakeMark)], "ring and socket in turn"),
    // The note is for the next record, which may be another thread's.
    (&[Before(TakeMark, TakeLock)], "socket and ring in turn, and another thread"),
    (&[Without(MarkAgain)], "no room in the ring, which another thread goes on with"),
    (&[Before(ReleaseLock, MarkAgain)], "no room in the ring, which another thread goes on with"),
    (&[Without(NoteSocketUse)], "ring and socket in turn"),
    (
        &[Before(NoteSocketUse, SendBySocketOtherwise)],
        "socket and ring in turn, and another thread",
    ),
    (&[Before(NoteSocketUse, ReleaseLock)], "socket and ring in turn, and another thread"),
    (&[Without(ScanA)], "ring and socket in turn"),
    (&[Before(ReadAllOfSocket, ScanA)], "ring and socket in turn"),
    (&[Without(ReadAllOfSocket)], "socket only"),
    (&[Without(ScanB)], "ring and socket in turn"),
    (&[Before(ScanB, ReadAllOfSocket)], "ring and socket in turn"),
    (&[Without(ScanNewRings)], "ring attached between messages on the socket"),
    (&[Without(PickLeast)], "ring and socket in turn"),
    (&[Without(ConfirmMarked)], "ring and socket in turn"),
    (&[Without(EofNeedsEmptyB)], "end with data in a ring"),
    (&[Without(CloseByFetchOr)], "ring retired"),
    (&[Without(DrainToFinal)], "ring retired"),
    (&[Without(ArmByCas)], "one ring"),
    (&[Without(HeedFailedCas)], "one ring"),
    (&[Without(MarkedIsArmed)], "one ring"),
    (&[Without(BlockOnSocket)], "one ring"),
];

/// Changes with which each sender's order is kept. The steps that they leave out save time, or
/// are for causal order.
const ENOUGH_PER_SENDER: &[&[Change]] = &[
    // The socket may be read each time.
    &[Without(LookAhead)],
    // New messages may be confirmed whether they have the mark or not.
    &[Instead(ConfirmMarked, ConfirmNewArrival)],
    // Stamps need not be times.
    &[Without(Stamp)],
];

fn changed(changes: &[Change]) -> Algorithm {
    altered(Algorithm::whole(), changes)
}

fn altered(algorithm: Algorithm, changes: &[Change]) -> Algorithm {
    changes.iter().fold(algorithm, |algorithm, &change| algorithm.with(change))
}

fn described(changes: &[Change]) -> String {
    let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
    changes.join(", ")
}

/// A scenario of one of the two models.
enum Scenario {
    Merge(merge::Scenario),
    Wake(wake::Scenario),
}

impl Scenario {
    fn name(&self) -> &'static str {
        match self {
            Self::Merge(scenario) => scenario.name,
            Self::Wake(scenario) => scenario.name,
        }
    }

    fn explore(&self, algorithm: &Algorithm) -> Result<Explored, Counterexample> {
        match self {
            Self::Merge(scenario) => explore(&Merge::new(scenario, algorithm)),
            Self::Wake(scenario) => explore(&Wake::new(scenario, algorithm)),
        }
    }

    #[track_caller]
    fn goes_well(&self, algorithm: &Algorithm) {
        let begun = Instant::now();
        match self.explore(algorithm) {
            Ok(Explored { states, ends }) => {
                println!(
                    "{states:>7} states, {ends:>3} ends, {:.1?}: {}",
                    begun.elapsed(),
                    self.name()
                );
            }
            Err(counterexample) => panic!("{}: {counterexample}", self.name()),
        }
    }

    #[track_caller]
    fn goes_wrong(&self, algorithm: &Algorithm) {
        match self.explore(algorithm) {
            Ok(explored) => panic!("{}: nothing goes wrong: {explored:?}", self.name()),
            Err(counterexample) => println!("{}: {counterexample}", self.name()),
        }
    }
}

fn small() -> impl Iterator<Item = Scenario> {
    let merge = scenarios::small().into_iter().map(Scenario::Merge);
    merge.chain(wake::scenarios().into_iter().map(Scenario::Wake))
}

fn large() -> impl Iterator<Item = Scenario> {
    scenarios::large().into_iter().map(Scenario::Merge)
}

fn false_stamps() -> impl Iterator<Item = Scenario> {
    scenarios::false_stamps().into_iter().map(Scenario::Merge)
}

fn huge() -> impl Iterator<Item = Scenario> {
    scenarios::huge().into_iter().map(Scenario::Merge)
}

fn per_sender() -> impl Iterator<Item = Scenario> {
    let merge = scenarios::per_sender().into_iter().map(Scenario::Merge);
    merge.chain(wake::scenarios().into_iter().map(Scenario::Wake))
}

fn per_sender_large() -> impl Iterator<Item = Scenario> {
    scenarios::per_sender_large().into_iter().map(Scenario::Merge)
}

/// Scenarios that would take too long without optimisation.
fn if_optimised<T>(scenarios: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    scenarios.filter(|_| !cfg!(debug_assertions))
}

#[test]
fn whole_algorithm_keeps_all_guarantees() {
    for scenario in small().chain(large()).chain(if_optimised(huge())) {
        scenario.goes_well(&Algorithm::whole());
    }
}

#[test]
fn no_step_can_be_left_out() {
    assert_all_named(Algorithm::whole(), BROKEN, &[]);
    for &(changes, name) in BROKEN {
        println!("\n{}", described(changes));
        let scenario =
            small().chain(large()).chain(false_stamps()).find(|scenario| scenario.name() == name);
        scenario.unwrap_or_else(|| panic!("no scenario: {name}")).goes_wrong(&changed(changes));
    }
}

/// Checks that every step of the algorithm is in one of the lists of changes.
fn assert_all_named(algorithm: Algorithm, broken: &[(&[Change], &str)], enough: &[&[Change]]) {
    let changes = broken.iter().map(|&(changes, _)| changes).chain(enough.iter().copied());
    for step in algorithm.steps() {
        let named = changes.clone().any(|changes| changes == [Without(step)]);
        assert!(named, "{step:?} has no scenario that needs it");
    }
}

#[test]
fn some_steps_may_be_taken_in_another_way() {
    for &changes in ENOUGH_AS_WELL {
        println!("\n{}", described(changes));
        for scenario in small().chain(if_optimised(large())) {
            scenario.goes_well(&changed(changes));
        }
    }
}

/// A message that a sender knows of must have a lesser stamp than the sender's next one. The
/// clock ensures that, or the sender waits for the clock.
#[test]
fn clock_that_stands_still_breaks_the_order_unless_senders_wait() {
    let scenario = Scenario::Merge(scenarios::coarse_clock());
    scenario.goes_wrong(&Algorithm::whole());
    scenario.goes_well(&changed(&[Before(OutlastStamp, AnnounceRing)]));
    // Waiting after publishing suffices only if all of the socket is read.
    let late = [Before(SendBySocketOtherwise, ReleaseLock), Before(OutlastStamp, ReleaseLock)];
    scenario.goes_wrong(&changed(&[LOOK_AHEAD, &late].concat()));
    if !cfg!(debug_assertions) {
        scenario.goes_well(&changed(&late));
    }
}

/// A false stamp in a ring or in the socket reorders only its sender's messages: all of the
/// socket is read, so it hides no honest message behind it.
#[test]
fn false_stamp_reorders_only_its_senders_messages() {
    for scenario in false_stamps() {
        scenario.goes_well(&Algorithm::whole());
    }
    for scenario in if_optimised(false_stamps()) {
        scenario.goes_well(&changed(&[Instead(ReadAllOfSocket, ReadAllOfSocketAsOfA)]));
    }
}

#[test]
fn each_senders_order_is_kept_without_reading_the_socket_each_time() {
    for scenario in per_sender().chain(if_optimised(per_sender_large())) {
        scenario.goes_well(&Algorithm::per_sender());
    }
    for scenario in false_stamps() {
        scenario.goes_well(&Algorithm::per_sender());
    }
    for &changes in ENOUGH_PER_SENDER {
        println!("\n{}", described(changes));
        for scenario in per_sender().chain(if_optimised(per_sender_large())) {
            scenario.goes_well(&altered(Algorithm::per_sender(), changes));
        }
    }
}

#[test]
fn no_step_for_each_senders_order_can_be_left_out() {
    assert_all_named(Algorithm::per_sender(), BROKEN_PER_SENDER, ENOUGH_PER_SENDER);
    for &(changes, name) in BROKEN_PER_SENDER {
        println!("\n{}", described(changes));
        let scenario =
            per_sender().chain(per_sender_large()).find(|scenario| scenario.name() == name);
        let scenario = scenario.unwrap_or_else(|| panic!("no scenario: {name}"));
        scenario.goes_wrong(&altered(Algorithm::per_sender(), changes));
    }
}

/// As long as all of the socket is read, stamps of different senders need no relation. If the
/// socket holds too much for that, stamps decide whether a message that precedes a marked
/// record can still be in the socket. No message in front of it may have a later stamp.
#[test]
fn a_marked_record_needs_the_exact_time_if_the_socket_is_not_read_to_its_end() {
    let scenarios = || scenarios::rough_clock().into_iter().map(Scenario::Merge);
    let name = "three on the socket, one with a ring";
    let scenario = scenarios().find(|scenario| scenario.name() == name);
    let scenario = scenario.unwrap_or_else(|| panic!("no scenario: {name}"));
    let mark_later = [READ_UNTIL_FULL, &[Before(TakeMark, WriteRecord)]].concat();
    scenario.goes_wrong(&altered(Algorithm::per_sender(), &mark_later));
    for scenario in if_optimised(scenarios()) {
        scenario.goes_well(&altered(Algorithm::per_sender(), READ_UNTIL_FULL));
    }
}
