//! Power cuts: after each disk operation of a server's life, what was acknowledged is there and nothing was invented.
//! With one kind of sync left out some cut must show it.

use super::{
    super::simulated::{Fault, Unsynced},
    *,
};

/// Cuts the power at each operation. `Err` tells what was wrong first.
fn cut_everywhere(left_out: Option<SyncOf>) -> Result<u64, String> {
    let whole = SimulatedDisk::new(0);
    block_on(live(&whole, &mut Known::default())).expect("a life without a fault");
    let operations = whole.operations();
    for operation in 1..=operations + 1 {
        let disk = SimulatedDisk::new(operation);
        disk.set_fault(operation, Fault::PowerOff);
        if let Some(sync) = left_out {
            disk.leave_out(sync);
        }
        let mut known = Known::default();
        let lived = block_on(live(&disk, &mut known));
        assert_eq!(lived.is_err(), disk.has_failed(), "{lived:?}");
        for (unsynced, seeds) in [(Unsynced::Lost, 1), (Unsynced::Kept, 1), (Unsynced::Mixed, 3)] {
            for seed in 0..seeds {
                let told = |what: String| format!("cut at {operation}, {unsynced:?} {seed}: {what}");
                check_what_is_left(&disk, known.clone(), unsynced, seed).map_err(told)?;
            }
        }
    }
    Ok(operations)
}

fn check_what_is_left(disk: &SimulatedDisk, mut known: Known, unsynced: Unsynced, seed: u64) -> Result<(), String> {
    let found = disk.after_power_cut(unsynced, seed);
    if known.confirmed {
        check_damage_of_the_last_is_seen(&found.after_power_cut(unsynced, seed))?;
    }
    // A second life on what is left, and a third to see what the second one left.
    let journal = open(&found, &mut known)?;
    if !journal.writer.lock().sealed {
        block_on(append(&journal, &mut known, 4)).map_err(|error| error.to_string())?;
    }
    open(&found.after_power_cut(unsynced, seed + 1), &mut known).map(drop)
}

/// After a confirm even the last commit is known to have been there, so its loss is no torn tail.
fn check_damage_of_the_last_is_seen(disk: &SimulatedDisk) -> Result<(), String> {
    let recovered = Recovered::open(Arc::new(disk.clone()), small()).map_err(|error| error.to_string())?;
    let Some(segment) = recovered.catalog.segments.back() else { return Ok(()) };
    let Some(offset) = segment.offset_of(recovered.last()) else { return Ok(()) };
    disk.change(&segment.name, |bytes| bytes[offset as usize + 30] ^= 1);
    match Recovered::open(Arc::new(disk.clone()), small()) {
        Err(OpenError::Read(ReadError::Damaged { .. })) => Ok(()),
        other => {
            Err(format!("a confirmed commit was damaged and this was found: {:?}", other.map(|found| found.last())))
        }
    }
}

#[test]
fn at_every_operation_what_was_acknowledged_survives() {
    let operations = cut_everywhere(None).unwrap();
    assert!(operations > 100, "only {operations} operations were cut");
}

#[test]
fn each_sync_is_needed() {
    for sync in [SyncOf::Header, SyncOf::Commit, SyncOf::Mark, SyncOf::NewSegment, SyncOf::Recycled] {
        assert!(cut_everywhere(Some(sync)).is_err(), "nothing shows that {sync:?} was left out");
    }
    // And this one, as it says, only saves time.
    cut_everywhere(Some(SyncOf::Zeros)).unwrap();
}
