//! Disks that fail at the nth write, sync, creation or rename.

use super::{
    super::simulated::{Fault, Unsynced},
    *,
};

#[test]
fn after_any_failed_operation_nothing_is_acknowledged() {
    let whole = SimulatedDisk::new(0);
    block_on(live(&whole, &mut Known::default())).expect("a life without a fault");
    for operation in 1..=whole.operations() {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            fail_at(operation, kind);
        }
    }
}

fn fail_at(operation: u64, kind: io::ErrorKind) {
    let disk = SimulatedDisk::new(operation);
    disk.set_fault(operation, Fault::Error(kind));
    let mut known = Known::default();
    let lived = block_on(live(&disk, &mut known));
    assert!(lived.is_err() && disk.has_failed(), "operation {operation} failed and nobody told");

    // The process ends; what the disk shows then may hold the commit whose append failed, or not.
    let told = |what| format!("{kind} at operation {operation}: {what}");
    let journal = open(&disk, &mut known).map_err(told).unwrap();
    if !journal.writer.lock().sealed {
        block_on(append(&journal, &mut known, 8)).unwrap();
    }
    drop(journal);
    // The failed sync's data was never made durable; by now that must not matter.
    let found = disk.after_power_cut(Unsynced::Lost, 0);
    open(&found, &mut known).map_err(told).unwrap();
}
