use proptest::prelude::*;

use super::{Delivery, Incoming, Reason, Wire};

const MAX_BYTES: usize = 64 * 1024;

/// Right packets, of both versions, to be spoilt.
const PACKETS: &[&[u8]] = &[
    b"\x10\x10\0\x04MQTT\x04\x82\0\x3c\0\x01d\0\x01u",
    b"\x10\x1f\0\x04MQTT\x05\xc2\0\x3c\x0b\x11\0\0\0\x09\x21\0\x05\x22\0\x07\0\x01d\0\x01u\0\x01p",
    b"\x10\x1d\0\x04MQTT\x05\x86\0\x3c\0\0\x01d\x05\x18\0\0\0\x01\0\x01t\0\x01m\0\x01u",
    b"\x32\x13\0\x0etidings/to/eve\0\x01h",
    b"\x32\x1f\0\x0etidings/to/eve\0\x01\x0b\x23\0\x01\x09\0\x01k\x08\0\x01rh",
    b"\x30\x06\0\0\x03\x23\0\x01",
    b"\x40\x02\0\x01",
    b"\x40\x04\0\x01\x10\0",
    b"\x82\x13\0\x01\0\0\x0dtidings/inbox\x01",
    b"\x82\x12\0\x01\0\x0dtidings/inbox\x01",
    b"\xa2\x12\0\x01\0\0\x0dtidings/inbox",
    b"\xc0\0",
    b"\xe0\x07\0\x05\x11\0\0\0\x09",
    b"\xe0\0",
    b"\xf0\x02\x18\0",
    b"\x62\x02\0\x01",
];

/// Reads bytes as they came, piece by piece, to the first error.
fn read(wire: &mut Wire, bytes: &[u8], piece: usize) -> Result<Vec<Incoming>, Reason> {
    let mut found = Vec::new();
    for mut piece in bytes.chunks(piece.max(1)) {
        while !piece.is_empty() {
            let (taken, packet) = wire.read(piece);
            assert!(taken > 0 && taken <= piece.len());
            found.extend(packet?);
            piece = &piece[taken..];
        }
    }
    Ok(found)
}

fn opened(version: usize) -> Wire {
    let mut wire = Wire::new(MAX_BYTES);
    read(&mut wire, PACKETS[version], 1_000).expect("it is right");
    wire
}

#[test]
fn pieces_of_any_size_make_the_same_packets() {
    let bytes: Vec<u8> = [0, 3, 6, 9, 11].iter().flat_map(|place| PACKETS[*place].iter().copied()).collect();
    let whole = format!("{:?}", read(&mut Wire::new(MAX_BYTES), &bytes, bytes.len()).expect("it is right"));
    assert_eq!(whole.matches("tidings/").count(), 2, "{whole}");
    for piece in 1..bytes.len() {
        let pieces = read(&mut Wire::new(MAX_BYTES), &bytes, piece).expect("it is right");
        assert_eq!(format!("{pieces:?}"), whole);
    }
}

#[test]
fn a_packet_that_is_too_large_is_refused_before_it_comes() {
    let mut wire = Wire::new(1_000);
    assert_eq!(wire.read(&[0x30, 0xe8, 0x07]).1.expect_err("it is too large"), Reason(0x95));
}

#[test]
fn deliveries_are_read_as_they_were_written() {
    for (version, aliases) in [(0, 0), (1, 0), (1, 3)] {
        let (mut writer, mut reader) = (opened(version), opened(version));
        writer.aliases_out_max = aliases;
        let long = vec![b'x'; 200];
        for (packet_id, payload) in [(Some(1), &b"first"[..]), (Some(0x0102), &long), (None, b"")] {
            let mut out = Vec::new();
            let delivery = Delivery { topic: "tidings/inbox", place: Some(0), packet_id, payload, correlation: None };
            assert!(writer.put_publish(&mut out, &delivery));
            let found = read(&mut reader, &out, out.len()).expect("it is right");
            let [Incoming::Publish(publish)] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((publish.topic.as_str(), publish.packet_id), ("tidings/inbox", packet_id));
            assert_eq!(publish.payload, payload);
        }
        writer.max_out_bytes = 20;
        let mut out = b"before".to_vec();
        let delivery =
            Delivery { topic: "tidings/inbox", place: Some(0), packet_id: None, payload: &long, correlation: None };
        assert!(!writer.put_publish(&mut out, &delivery), "larger than the client takes");
        assert_eq!(out, b"before");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1..50usize, version in 0..3usize) {
        let mut wire = if version == 2 { Wire::new(MAX_BYTES) } else { opened(version) };
        let _ = read(&mut wire, &bytes, piece);
    }

    #[test]
    fn no_spoilt_packet_makes_it_panic(
        place in 0..PACKETS.len(),
        spoils in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
        version in 0..3usize,
    ) {
        let mut bytes = PACKETS[place].to_vec();
        for (at, byte) in spoils {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Most faults are deeper than a wrong length.
        if cut.index(4) > 0 && bytes.len() < 128 {
            bytes[1] = u8::try_from(bytes.len() - 2).expect("it is short");
        }
        let mut wire = if version == 2 { Wire::new(MAX_BYTES) } else { opened(version) };
        let _ = read(&mut wire, &bytes, 1_000);
    }
}
