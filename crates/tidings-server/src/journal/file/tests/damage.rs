//! Flipped bytes and cut files: reported with file and place, or an unconfirmed last commit is cut; never skipped, and
//! never wrong data.

use super::*;

/// Several segments; the newest holds at least three commits. Answers the newest one's name and what it must hold.
fn written(confirmed: bool) -> (SimulatedDisk, String, Known) {
    let disk = SimulatedDisk::new(0);
    let mut known = Known::default();
    let journal = open(&disk, &mut known).unwrap();
    block_on(async {
        append(&journal, &mut known, 12).await.unwrap();
        // Until the newest holds three.
        while {
            let third_last = Position(known.acked.len() as u64 - 2);
            journal.catalog.read().segments.back().unwrap().offset_of(third_last).is_none()
        } {
            append(&journal, &mut known, 1).await.unwrap();
        }
        if confirmed {
            confirm(&journal, &mut known).await.unwrap();
        }
    });
    let newest = journal.catalog.read().segments.back().unwrap().name.clone();
    (disk, newest, known)
}

fn reopen(disk: &SimulatedDisk) -> Result<Recovered, OpenError> {
    Recovered::open(Arc::new(disk.clone()), small())
}

/// The place of a damage that was reported.
#[track_caller]
fn damage(found: Result<Recovered, OpenError>) -> String {
    match found {
        Err(OpenError::Read(ReadError::Damaged { place, .. })) => place,
        other => panic!("{other:?}"),
    }
}

/// The bytes that matter: of header and records, without the padding.
fn used_bytes(disk: &SimulatedDisk, name: &str) -> Vec<(usize, std::ops::Range<usize>)> {
    let recovered = reopen(disk).unwrap();
    let segment = recovered.catalog.segments.iter().find(|segment| segment.name == name).unwrap();
    let mut parts = vec![(0, 0..68)];
    disk.change(name, |bytes| {
        let mut offset = BLOCK_BYTES;
        while let Some(Ok(record)) = bytes.get(offset..).map(|rest| record::decode(segment.header.salt, rest)) {
            let record_bytes = record::HEADER_BYTES + record.payload.len();
            parts.push((offset, offset..offset + record_bytes));
            offset += record::padded_bytes(record.payload.len());
        }
    });
    parts
}

/// What is found when the whole block there cannot be trusted any more.
fn without_block(disk: &SimulatedDisk, name: &str, offset: usize) -> Result<Recovered, OpenError> {
    let disk = disk.after_power_cut(simulated::Unsynced::Lost, 0);
    disk.change(name, |bytes| bytes[offset..offset + BLOCK_BYTES].fill(0));
    reopen(&disk)
}

#[test]
fn a_flipped_byte_is_reported_where_it_is() {
    let (disk, newest, known) = written(true);
    let names = disk.list().unwrap();
    assert!(names.len() >= 3);
    for name in names {
        let parts = used_bytes(&disk, &name);
        let confirm = (name == newest).then(|| parts.len() - 1);
        for (index, (offset, range)) in parts.into_iter().enumerate() {
            if confirm != Some(index) {
                assert_eq!(damage(without_block(&disk, &name, offset)), format!("{name}, byte {offset}"));
            }
            for byte in range {
                disk.change(&name, |bytes| bytes[byte] ^= 0x10);
                let found = reopen(&disk);
                if confirm == Some(index) {
                    // All commits are there; that the last one was confirmed is all that is lost.
                    known.check(&found.unwrap()).unwrap();
                } else {
                    assert!(damage(found).starts_with(&format!("{name}, byte {offset}")), "{name}, byte {byte}");
                }
                disk.change(&name, |bytes| bytes[byte] ^= 0x10);
            }
        }
    }
    known.check(&reopen(&disk).unwrap()).unwrap();
}

#[test]
fn a_damaged_seal_is_reported() {
    let disk = SimulatedDisk::new(0);
    let journal = open(&disk, &mut Known::default()).unwrap();
    block_on(journal.append(sample(1))).unwrap();
    block_on(journal.seal()).unwrap();
    let name = disk.list().unwrap().remove(0);
    let [.., (seal, range), _confirm] = &used_bytes(&disk, &name)[..] else { panic!("there is a seal") };
    for byte in range.clone() {
        disk.change(&name, |bytes| bytes[byte] ^= 0x10);
        assert_eq!(damage(reopen(&disk)), format!("{name}, byte {seal}"));
        disk.change(&name, |bytes| bytes[byte] ^= 0x10);
    }
    assert!(reopen(&disk).unwrap().is_sealed());
}

#[test]
fn only_an_unconfirmed_last_commit_may_be_cut() {
    let (disk, newest, mut known) = written(false);
    let mut parts = used_bytes(&disk, &newest);
    let (last, range) = parts.pop().unwrap();
    let (position, commit) = known.acked.pop_last().unwrap();
    known.attempted = Some((position, commit));
    for byte in range {
        disk.change(&newest, |bytes| bytes[byte] ^= 0x10);
        let recovered = reopen(&disk).unwrap();
        known.check(&recovered).unwrap();
        assert_eq!(recovered.last(), Position(position.0 - 1));
        let salt = byte - last < 8;
        let torn = (!salt).then(|| format!("{newest}, byte {last}"));
        assert_eq!(recovered.end(), &End::Unconfirmed { torn }, "byte {byte}");
        disk.change(&newest, |bytes| bytes[byte] ^= 0x10);
    }
    for (offset, range) in parts {
        disk.change(&newest, |bytes| bytes[range.start] ^= 0x10);
        assert_eq!(damage(reopen(&disk)), format!("{newest}, byte {offset}"));
        disk.change(&newest, |bytes| bytes[range.start] ^= 0x10);
    }
}

#[test]
fn a_file_that_was_cut_is_reported_wherever_it_was_cut() {
    let (disk, newest, _) = written(true);
    let mut whole = Vec::new();
    disk.change(&newest, |bytes| whole = bytes.clone());
    for kept in 0..whole.len() {
        disk.change(&newest, |bytes| bytes.truncate(kept));
        let expected = if kept < 68 { 0 } else { kept };
        assert_eq!(damage(reopen(&disk)), format!("{newest}, byte {expected}"));
        disk.change(&newest, |bytes| bytes.clone_from(&whole));
    }
}

/// Bytes behind a place never reached the disk, as when a write is torn: only the commit under way may go.
#[test]
fn a_torn_write_takes_only_the_commit_under_way() {
    let (disk, newest, mut known) = written(false);
    let (offset, range) = used_bytes(&disk, &newest).pop().unwrap();
    let (position, commit) = known.acked.pop_last().unwrap();
    known.attempted = Some((position, commit));
    let mut whole = Vec::new();
    disk.change(&newest, |bytes| whole = bytes.clone());
    for arrived in offset..=range.end {
        disk.change(&newest, |bytes| bytes[arrived..].fill(0));
        let recovered = reopen(&disk).unwrap();
        known.check(&recovered).unwrap();
        let zeros_anyway = whole[arrived..range.end].iter().all(|byte| *byte == 0);
        assert_eq!(recovered.last() == position, zeros_anyway, "{} bytes arrived", arrived - offset);
        disk.change(&newest, |bytes| bytes.clone_from(&whole));
    }
}

#[test]
fn a_missing_or_foreign_segment_is_reported() {
    let (disk, newest, _) = written(true);
    let names = disk.list().unwrap();
    disk.rename(&names[1], "aside").unwrap();
    assert!(damage(reopen(&disk)).ends_with("byte 0"));
    disk.rename("aside", &names[1]).unwrap();
    // Names do not matter, headers do.
    disk.rename(&newest, "000000-first.segment").unwrap();
    assert!(reopen(&disk).is_ok());
    let (other, name, _) = written(true);
    let mut stranger = Vec::new();
    other.change(&name, |bytes| stranger = bytes.clone());
    disk.change("000000-first.segment", |bytes| *bytes = stranger);
    assert!(
        matches!(reopen(&disk), Err(OpenError::Read(ReadError::Damaged { what, .. })) if what.contains("another journal"))
    );
}
