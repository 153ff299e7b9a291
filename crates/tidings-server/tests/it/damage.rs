//! A whole data folder with a flipped byte, or whose last write was torn: the server names the file, or serves what was there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::{PATIENCE, TestServer};

/// Nothing is flushed but at a start and a stop.
const LATE: (&str, &str) = ("flush.window_ms", "60000");
/// Nobody is waited for at a stop.
const SETTINGS: &[(&str, &str)] = &[LATE, ("drain_ms", "0")];
/// Sent after the last flush: the newest segment holds them.
const LATE_MESSAGES: usize = 4;
/// Records begin at multiples of it (docs/formats.md), with a header of so many bytes that says what the record is.
const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 28;
const KIND_AT: usize = 20;
const COMMIT: u8 = 1;
const CONFIRM: u8 = 2;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A record of a segment: where it begins and ends, and what it is.
struct Record {
    from: usize,
    to: usize,
    kind: u8,
}

fn records(segment: &[u8]) -> Vec<Record> {
    let salt = &segment[56..64];
    let mut records = Vec::new();
    let mut from = BLOCK_BYTES;
    while segment.len() > from && segment[from..from + 8] == *salt {
        let payload_bytes = u32::from_le_bytes(segment[from + 16..from + 20].try_into().unwrap()) as usize;
        let to = from + HEADER_BYTES + payload_bytes;
        records.push(Record { from, to, kind: segment[from + KIND_AT] });
        from = to.next_multiple_of(BLOCK_BYTES);
    }
    records
}

/// The segment that is written to.
fn newest(folder: &Path) -> PathBuf {
    let mut segments = files(&folder.join("journal")).into_iter();
    segments.rfind(|path| path.extension().is_some_and(|extension| extension == "segment")).expect("there is a journal")
}

/// A folder as a power cut leaves it while the server is idle. Its tables have conversations of each kind in chunks and rows; its
/// journal has the newest messages.
async fn crashed(into: &Path) {
    let place = tempdir().unwrap();
    let folder = place.path().join("data");
    let settings = [LATE, ("users.unknown_recipient", "accept"), ("rates.sends_burst", "100000")];
    let server = TestServer::start(&folder, &settings).await;
    let mut ada = server.connect("ada", "laptop").await;
    server.connect("bob", "phone").await;
    for n in 0..300 {
        let text = format!("number {n}, {}", "and so on ".repeat(n % 7));
        ada.start(&mut json!({"type": "send", "to": {"user": "bob"}, "client_msg_id": format!("c-{n}"), "text": text}))
            .await;
    }
    for n in 0..300 {
        assert_eq!(ada.next_of("sent").await["seq"], n + 1);
    }
    let members: Vec<_> = (0..70).map(|n| format!("user-{n}")).collect();
    for (id, members) in [("large", &members[..]), ("small", &members[..3])] {
        let create = json!({"type": "create", "client_msg_id": id, "name": id, "members": members});
        assert_eq!(ada.ask(create).await["type"], "created");
    }
    assert_eq!(ada.ask(json!({"type": "block", "user": "user-1"})).await["type"], "ok");
    server.stop().await;

    let server = TestServer::start(&folder, &settings).await;
    let mut ada = server.connect("ada", "laptop").await;
    for n in 0..LATE_MESSAGES {
        ada.send("bob", &format!("late-{n}"), &format!("late {n}")).await;
    }
    // All is confirmed, and compaction is done: the copy is of one moment.
    let is_still = async {
        loop {
            copy(&folder, into);
            let is_confirmed =
                records(&fs::read(newest(into)).unwrap()).last().is_some_and(|record| record.kind == CONFIRM);
            let is_same =
                |path: &PathBuf| fs::read(path).ok() == fs::read(into.join(path.strip_prefix(&folder).unwrap())).ok();
            if is_confirmed && files(&folder).iter().all(is_same) && files(&folder).len() == files(into).len() {
                return;
            }
            fs::remove_dir_all(into).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_still).await.expect("the server comes to rest");
    server.stop().await;
}

/// Everything that people can read. What is refused stands as the code.
async fn read_all(server: &TestServer) -> Value {
    let mut all = Vec::new();
    for user in ["ada", "bob", "user-1"] {
        let login = server.nobody().post("/v1/login", json!({"username": user, "device": "laptop"})).await;
        let Some(token) = login.body["token"].as_str() else {
            all.push(login.body["code"].clone());
            continue;
        };
        let caller = server.with_token(token);
        let ask =
            async |frame: Value| caller.post("/v1/frames", json!({"frames": [frame]})).await.ok()["answers"][0].take();
        let mut inbox = ask(json!({"type": "inbox", "id": 1, "tail": 3})).await;
        inbox["sync"].take();
        for item in inbox["items"].as_array().cloned().unwrap_or_default() {
            let mut before = json!(null);
            loop {
                let fetch = json!({"type": "fetch", "id": 2, "conversation": item["conversation"], "before": before, "limit": 200});
                let page = ask(fetch).await;
                before = page["entries"][0]["seq"].clone();
                all.push(if page["code"].is_null() { page["entries"].clone() } else { page["code"].clone() });
                if before.as_u64().is_none_or(|seq| seq <= 1) {
                    break;
                }
            }
        }
        if user == "ada" {
            let repeat =
                json!({"type": "send", "id": 3, "to": {"user": "bob"}, "client_msg_id": "c-7", "text": "again"});
            let answer = ask(repeat).await;
            all.push(if answer["code"].is_null() { answer["seq"].clone() } else { answer["code"].clone() });
        }
        all.push(if inbox["code"].is_null() { inbox["items"].take() } else { inbox["code"].clone() });
    }
    Value::Array(all)
}

/// The texts that Ada and Bob have exchanged.
async fn texts(server: &TestServer) -> Vec<String> {
    let mut bob = server.connect("bob", "phone").await;
    let conversation = bob.ask(json!({"type": "inbox"})).await["items"][0]["conversation"].clone();
    let mut texts = Vec::new();
    loop {
        let page =
            bob.ask(json!({"type": "fetch", "conversation": conversation, "after": texts.len(), "limit": 200})).await;
        let entries = page["entries"].as_array().unwrap_or_else(|| panic!("{page}"));
        texts.extend(entries.iter().map(|entry| entry["text"].as_str().unwrap().to_owned()));
        if page["last_seq"] == texts.len() {
            return texts;
        }
    }
}

/// The last write did not reach the disk whole. Wherever it was cut off, what was written before is there.
#[tokio::test]
async fn a_folder_whose_last_write_was_torn_holds_all_before_it() {
    let place = tempdir().unwrap();
    let image = place.path().join("image");
    crashed(&image).await;
    let segment = newest(&image);
    let whole = fs::read(&segment).unwrap();
    let records = records(&whole);
    let late: Vec<_> = records.iter().filter(|record| record.kind == COMMIT).rev().take(LATE_MESSAGES).collect();
    let folder = place.path().join("data");
    let torn_at = records
        .iter()
        .rev()
        .take(4)
        .flat_map(|record| (record.from..=record.to).step_by(24).chain([record.to - 1, record.to]));
    let mut cut = 0;
    for torn_at in torn_at {
        copy(&image, &folder);
        let mut torn = whole.clone();
        torn[torn_at..].fill(0);
        fs::write(folder.join(segment.strip_prefix(&image).unwrap()), torn).unwrap();
        let server = TestServer::start(&folder, SETTINGS).await;
        let texts = texts(&server).await;
        let kept = texts.len() - 300;
        let written = late.iter().filter(|record| record.to <= torn_at).count();
        assert!(kept >= written, "cut at {torn_at}: {kept} of the {written} that were written before it");
        assert!(texts[300..].iter().enumerate().all(|(n, text)| *text == format!("late {n}")), "{:?}", &texts[300..]);
        cut += usize::from(kept < LATE_MESSAGES);
        server.stop().await;
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(cut > 0, "some of it was cut off");

    // A file that is shorter than it was made is another matter: nothing that Tidings does leaves one.
    let last = records.last().unwrap();
    for kept in [last.from, last.from + 5, last.to, whole.len() - 1] {
        copy(&image, &folder);
        let path = folder.join(segment.strip_prefix(&image).unwrap());
        fs::write(&path, &whole[..kept]).unwrap();
        let refusal = TestServer::try_start(&folder, SETTINGS).await.err().expect("it is damaged");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(refusal.contains(&format!("{name}, byte {kept}")), "{refusal}");
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// Places of a file that say something, a few over its length.
fn places(bytes: &[u8]) -> Vec<usize> {
    let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut places: Vec<_> =
        [0, used.len() / 3, used.len() * 2 / 3].iter().filter_map(|at| used.get(*at).copied()).collect();
    places.extend(used.last());
    places.dedup();
    places
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_of_a_folder_is_told_or_harmless() {
    let place = tempdir().unwrap();
    let image = place.path().join("image");
    crashed(&image).await;
    let folder = place.path().join("data");
    copy(&image, &folder);
    let server = TestServer::start(&folder, SETTINGS).await;
    let expected = read_all(&server).await;
    server.stop().await;
    fs::remove_dir_all(&folder).unwrap();
    let said = expected.to_string();
    assert!(said.contains("late 3") && said.contains("number 299") && !said.contains("unavailable"), "{said}");
    let entries =
        |all: &Value| all.as_array().unwrap().iter().filter_map(Value::as_array).flatten().cloned().collect::<Vec<_>>();
    let right = entries(&expected);

    let (mut told, mut unread, mut harmless) = (0, 0, 0);
    for file in files(&image) {
        let path = folder.join(file.strip_prefix(&image).unwrap());
        let whole = fs::read(&file).unwrap();
        for at in places(&whole) {
            copy(&image, &folder);
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            match TestServer::try_start(&folder, SETTINGS).await {
                Err(refusal) => {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    assert!(
                        refusal.contains(name) || refusal.contains(folder.to_str().unwrap()),
                        "{}: {refusal}",
                        path.display()
                    );
                    told += 1;
                }
                Ok(server) => {
                    let found = read_all(&server).await;
                    if found == expected {
                        harmless += 1;
                    } else {
                        let wrong = entries(&found).into_iter().find(|entry| !right.contains(entry));
                        assert_eq!(wrong, None, "{} at {at}: wrong data", path.display());
                        assert!(
                            found.to_string().contains("unavailable"),
                            "{} at {at}: gone without a word",
                            path.display()
                        );
                        unread += 1;
                    }
                    server.stop().await;
                }
            }
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    eprintln!("{told} refused to start, {unread} refused a read, {harmless} did no harm");
    assert!(told + unread > harmless, "{told} refused to start, {unread} refused a read, {harmless} did no harm");
}
