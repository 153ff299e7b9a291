use proptest::prelude::*;
use tidings_proto::UserId;

use super::*;
use crate::conversation::entry::{Body, Fold, MembersChange, Message, Reactions, Redacted, Role};

fn a_user() -> impl Strategy<Value = UserId> {
    "[a-c]{1,2}|[a-z0-9é]{1,20}".prop_map(|name| UserId::new(&name).unwrap())
}

fn a_client_msg_id() -> impl Strategy<Value = Option<Box<str>>> {
    prop_oneof![
        Just(None),
        any::<[u8; 16]>().prop_map(|bytes| Some(client_ids::to_text(&bytes))),
        // Nearly a UUID: must come back as it was spelled.
        any::<[u8; 16]>().prop_map(|bytes| Some(client_ids::to_text(&bytes).to_uppercase().into())),
        "c-[0-9]{1,3}|.{1,40}".prop_map(|id| Some(id.into())),
    ]
}

fn a_fold() -> impl Strategy<Value = Fold> {
    (any::<u64>(), prop::option::of(a_user()), prop::collection::vec(a_user(), 0..3)).prop_map(|(seq, by, users)| {
        Fold {
            edits: vec![Seq(seq)],
            redacted: by.map(|by| Redacted { seq: Seq(seq), by, at_ms: seq }),
            reactions: users.into_iter().map(|user| Reactions { emoji: "👍".into(), users: vec![user] }).collect(),
            void: Vec::new(),
        }
    })
}

fn a_body() -> impl Strategy<Value = Body> {
    let message = (".{0,200}", prop::collection::vec("[a-z]{1,9}", 0..3), prop::option::of(any::<u64>())).prop_map(
        |(text, mentions, reply_to)| Message {
            text: text.into(),
            mentions: mentions.into_iter().map(Into::into).collect(),
            reply_to: reply_to.map(Seq),
            attachments: Vec::new(),
            data: reply_to.map(|n| format!("{{\"n\":{n}}}").into()),
        },
    );
    prop_oneof![
        6 => ".{0,200}".prop_map(|text| Body::Message(Message { text: text.into(), ..Message::default() })),
        2 => message.prop_map(Body::Message),
        1 => (any::<u64>(), ".{0,50}").prop_map(|(n, text)| Body::Edit { target: Seq(n), text: text.into() }),
        1 => any::<u64>().prop_map(|n| Body::Redaction { target: Seq(n), edits: vec![Seq(n)] }),
        1 => any::<u64>().prop_map(|n| Body::Reaction { target: Seq(n), emoji: "🎉".into(), on: n % 2 == 0 }),
        1 => (a_user(), a_user()).prop_map(|(one, other)| {
            Body::Members(MembersChange { added: vec![(one, Role::Owner)], removed: vec![other], roles: vec![] })
        }),
        1 => ".{1,20}".prop_map(|name| Body::Rename { name: name.into() }),
    ]
}

fn an_entry() -> impl Strategy<Value = Entry> {
    (
        any::<u64>(),
        a_user(),
        0..500u64,
        a_client_msg_id(),
        a_body(),
        any::<bool>(),
        prop::option::weighted(0.1, a_fold()),
    )
        .prop_map(|(at_ms, from, ord, client_msg_id, body, void, fold)| Entry {
            seq: Seq::NONE,
            at_ms,
            from,
            ord,
            client_msg_id,
            body,
            void: void && ord % 10 == 0,
            fold: fold.map(Box::new),
        })
}

/// A run from anywhere; now and then a seq is left out.
fn a_run() -> impl Strategy<Value = Vec<Entry>> {
    let first = prop_oneof![Just(1u64), 1..1_000_000u64, Just(u64::MAX - 400)];
    (first, prop::collection::vec((an_entry(), prop::bool::weighted(0.02)), 1..60)).prop_map(|(first, entries)| {
        let mut seq = first;
        let entries = entries.into_iter().map(|(entry, gap)| {
            seq += u64::from(gap);
            let entry = Entry { seq: Seq(seq), ..entry };
            seq += 1;
            entry
        });
        entries.collect()
    })
}

proptest! {
    #[test]
    fn a_run_survives_its_bytes(run in a_run(), closed in any::<bool>()) {
        let shape = if closed { Shape::Chunk } else { Shape::Small };
        let value = encode(shape, &run);
        let opened = open(&value).unwrap();
        prop_assert_eq!(opened.shape, shape);
        prop_assert_eq!((opened.first_seq, opened.count), (run[0].seq, run.len()));
        prop_assert_eq!(opened.last_seq, run[run.len() - 1].seq);
        prop_assert_eq!(opened.entries().unwrap(), run);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_reported(run in a_run(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut value = encode(Shape::Small, &run);
        let at = at.index(value.len());
        value[at] ^= 1u8 << bit;
        prop_assert!(open(&value).is_err());
    }

    /// Even bytes with a right checksum (a fault of ours, not of the disk) are read without panic or huge allocation.
    #[test]
    fn wrong_bytes_with_a_right_checksum_do_no_harm(run in a_run(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut value = encode(Shape::Small, &run);
        let at = at.index(value.len() - 2) + 2;
        value[at] = byte;
        let checksum = checksum(&value);
        value[CHECKSUM].copy_from_slice(&checksum);
        if let Ok(opened) = open(&value) {
            let _ = opened.entries();
        }
    }
}

/// A run for a block: no seq is left out.
fn a_dense_run() -> impl Strategy<Value = Vec<Entry>> {
    a_run().prop_map(|mut run| {
        let first = run[0].seq.0.min(u64::MAX - 1_000);
        run.iter_mut().zip(first..).for_each(|(entry, seq)| entry.seq = Seq(seq));
        run
    })
}

proptest! {
    #[test]
    fn a_block_survives_its_bytes(run in a_dense_run()) {
        prop_assert_eq!(decode_block(&encode_block(&run)).unwrap(), run);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_block_is_reported(run in a_dense_run(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut value = encode_block(&run);
        let at = at.index(value.len());
        value[at] ^= 1u8 << bit;
        prop_assert!(decode_block(&value).is_err());
    }

    #[test]
    fn wrong_bytes_of_a_block_with_a_right_checksum_do_no_harm(
        run in a_dense_run(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut value = encode_block(&run);
        let at = at.index(value.len() - 1) + 1;
        value[at] = byte;
        let checksum = checksum(&value);
        value[CHECKSUM].copy_from_slice(&checksum);
        let _ = decode_block(&value);
    }
}

#[test]
fn a_block_of_thousands_is_much_shorter_than_its_chunks() {
    let run: Vec<_> = (1..=BLOCK_ENTRIES_MAX as u64)
        .map(|seq| {
            let text = format!("try sudo apt-get install package-{} and tell me what it says", seq % 97);
            Entry { client_msg_id: Some(format!("import:{seq}").into()), ..message(seq, &text) }
        })
        .collect();
    let block = encode_block(&run);
    assert_eq!(decode_block(&block).unwrap(), run);
    let chunks: usize = run.chunks(48).map(|entries| encode(Shape::Chunk, entries).len()).sum();
    assert!(block.len() * 3 < chunks * 2, "{} and {chunks} bytes", block.len());
    assert!(open(&block).is_err(), "a block is no log row");
}

fn message(seq: u64, text: &str) -> Entry {
    Entry {
        seq: Seq(seq),
        at_ms: 1_795_132_800_000 + seq * 1_234,
        from: UserId::new(if seq.is_multiple_of(2) { "ada" } else { "bob" }).unwrap(),
        ord: seq,
        client_msg_id: Some(client_ids::to_text(&(u128::from(seq) * 0x9e37_79b9_7f4a_7c15_f39c).to_be_bytes())),
        body: Body::Message(Message { text: text.into(), ..Message::default() }),
        void: false,
        fold: None,
    }
}

#[test]
fn a_newer_format_or_dictionary_is_named_and_not_guessed_at() {
    let mut value = encode(Shape::Small, &[message(1, "hi")]);
    value[0] = 2;
    assert_eq!(open(&value).unwrap_err(), ChunkError::UnknownVersion(2));
    value[0] = VERSION;
    value[1] = 9 << 1;
    let checksum = checksum(&value);
    value[CHECKSUM].copy_from_slice(&checksum);
    assert_eq!(open(&value).unwrap().entries().unwrap_err(), ChunkError::UnknownDictionary(9));
}

#[test]
fn a_plain_message_costs_little_more_than_its_content() {
    // The dictionary makes even one short row shorter than its text and id.
    let text = "you can install it from the repository, open a terminal and then type the command";
    let one = encode(Shape::Small, &[message(1, text)]);
    assert!(one.len() < text.len() + 16, "{} bytes", one.len());
    let run: Vec<_> = (1..=50).map(|seq| message(seq, text)).collect();
    let chunk = encode(Shape::Chunk, &run);
    assert!(chunk.len() < 50 * (16 + 12), "{} bytes", chunk.len());
}

/// The format on disk is a promise: these bytes were written by the first version.
#[test]
fn rows_of_the_first_version_are_read() {
    let value: &[u8] = include_bytes!("fixtures/chunk-1.bin");
    let expected: Vec<_> = (1..=3).map(|seq| message(seq, "how do I mount a disk?")).collect();
    assert_eq!(open(value).unwrap().entries().unwrap(), expected);
}

/// As [`rows_of_the_first_version_are_read`]: written by the first version of blocks, which was 2, with the archive's dictionary 2.
#[test]
fn blocks_of_the_first_version_are_read() {
    let value: &[u8] = include_bytes!("fixtures/block-2.bin");
    assert_eq!(value[..2], [2, 2]);
    assert_eq!(decode_block(value).unwrap(), a_mixed_run());
    assert_eq!(encode_block(&a_mixed_run())[..2], [3, 2], "what is written today");
}

/// Some of everything.
fn a_mixed_run() -> Vec<Entry> {
    let entries = (1..=40).map(|n| {
        let client_msg_id: Option<Box<str>> = match n % 4 {
            0 => None,
            1 => Some(format!("00000000-0000-4000-8000-{n:012x}").into()),
            _ => Some(format!("import:{n}").into()),
        };
        let from = UserId::new(["ada", "bob", "eve"][(n % 7 % 3) as usize]).unwrap();
        let mut said = Message { text: format!("how do I mount disk {n}?").into(), ..Message::default() };
        if n % 5 == 0 {
            (said.mentions, said.reply_to) = (vec!["ada".into()], Some(Seq(n - 1)));
        }
        let body = match n % 11 {
            0 => Body::Reaction { target: Seq(n - 1), emoji: "🎉".into(), on: true },
            _ => Body::Message(said),
        };
        let reactions = Reactions { emoji: "👍".into(), users: vec![from.clone()] };
        let fold = (n % 13 == 0).then(|| Box::new(Fold { reactions: vec![reactions], ..Fold::default() }));
        let at_ms = 1_795_132_800_000 + n * 1_234;
        Entry { seq: Seq(1_000 + n), at_ms, from, ord: n, client_msg_id, body, void: n == 17, fold }
    });
    entries.collect()
}

#[test]
fn ids_that_count_cost_a_block_nothing() {
    let run = |id: fn(u64) -> Option<Box<str>>| -> Vec<_> {
        (1..=2_000).map(|seq| Entry { client_msg_id: id(seq), ..message(seq, "hi") }).collect()
    };
    let counted = run(|seq| Some(format!("import:{}", seq + 90).into()));
    let block = encode_block(&counted);
    assert_eq!(decode_block(&block).unwrap(), counted);
    let without = encode_block(&run(|_| None)).len();
    assert!(block.len() < without + 64, "{} and {without} bytes", block.len());
}

#[test]
fn the_id_that_follows_is_one_higher() {
    let counted =
        [("import:9", "import:10"), ("c-108", "c-109"), ("é199", "é200"), ("0", "1"), ("99", "100"), ("a09", "a10")];
    for (id, next) in counted {
        let mut id = id.to_owned();
        assert!(client_ids::count_up(&mut id));
        assert_eq!(id, next);
    }
    for id in ["", "c-", "1c", &"1".repeat(65)] {
        let mut same = id.to_owned();
        assert!(!client_ids::count_up(&mut same) && same == id, "{id}");
    }
}
