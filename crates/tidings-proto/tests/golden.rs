//! The golden frames: what is written in `fixtures/frames/` is what the types read and write, and no type is without one.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tidings_proto::frames::{client::Command, client::Request, server::ServerFrame};

/// Reads a frame and writes it again; `Err`: why it could not be read.
type RoundTrip = fn(&str) -> Result<String, String>;

fn request(text: &str) -> Result<String, String> {
    let request = Request::parse(text).map_err(|error| error.to_string())?;
    Ok(serde_json::to_string(&request).expect("frames can be written"))
}

fn server_frame(text: &str) -> Result<String, String> {
    match ServerFrame::parse(text) {
        Ok(Some(frame)) => Ok(frame.to_json()),
        Ok(None) => Err("unknown type".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is wrong with the files of a folder, a line each.
fn findings(folder: &str, types: &[&str], round_trip: RoundTrip) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/frames").join(folder);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for file in fs::read_dir(&folder).expect("the fixtures are there") {
        let path = file.expect("the folder can be read").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a plain name").to_owned();
        let text = fs::read_to_string(&path).expect("the file can be read");
        let kind = name.split('.').next().unwrap_or_default().to_owned();
        if let Err(what) = check(&kind, &text, round_trip) {
            found.push(format!("{name}: {what}"));
        }
        seen.insert(kind);
    }
    found.extend(types.iter().filter(|kind| !seen.contains(**kind)).map(|kind| format!("{kind}: has no golden frame")));
    found
}

fn check(kind: &str, text: &str, round_trip: RoundTrip) -> Result<(), String> {
    let golden: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if golden["type"] != kind {
        return Err(format!("it is of type {}", golden["type"]));
    }
    let written: Value = serde_json::from_str(&round_trip(text)?).map_err(|error| error.to_string())?;
    if written != golden {
        return Err(format!("written again it is {written}"));
    }
    let mut later = golden.clone();
    later["of_a_later_version"] = serde_json::json!({ "type": "x", "id": [] });
    let written: Value = serde_json::from_str(&round_trip(&later.to_string())?).map_err(|error| error.to_string())?;
    if written != golden {
        return Err(format!("with an unknown field it is {written}"));
    }
    Ok(())
}

#[test]
fn every_frame_of_clients_reads_and_writes_as_its_file() {
    assert_eq!(findings("client", Command::TYPES, request), [""; 0]);
}

#[test]
fn every_frame_of_the_server_reads_and_writes_as_its_file() {
    assert_eq!(findings("server", ServerFrame::TYPES, server_frame), [""; 0]);
}

#[test]
fn a_field_that_is_lost_a_wrong_type_and_a_type_without_a_file_are_found() {
    assert!(check("ack", r#"{"type":"ack","conversation":"abcdefghijklmnopqrstuvwxyz","seq":"9"}"#, request).is_err());
    assert!(check("ping", r#"{"type":"ping","id":null}"#, request).is_err(), "null is not written again");
    assert!(check("pong", r#"{"type":"ping"}"#, request).is_err());
    assert_eq!(findings("client", &["shout"], request), ["shout: has no golden frame"]);
}
