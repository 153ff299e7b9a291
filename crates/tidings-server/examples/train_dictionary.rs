//! Trains a dictionary that log rows are compressed with, or blocks of the archive, and shows what it gains on text it has not
//! seen.
//!
//! `zcat chat.jsonl.gz | cargo run --release -p tidings-server --example train_dictionary -- OUT.zdict rows`
//! `zcat chat.jsonl.gz | cargo run --release -p tidings-server --example train_dictionary -- OUT.zdict blocks`
//!
//! Reads JSON lines with `day`, `at` (HH:MM), `from` and `text`. Every second line trains, the others test. The same
//! input makes the same dictionary.

use std::{io::BufRead, path::PathBuf};

use serde::Deserialize;
use tidings_proto::{Seq, UserId};
use tidings_server::{
    conversation::entry::{Body, Entry, Fold, Message, Reactions},
    tables::chunk,
};

/// What is trained.
struct Kind {
    bytes: usize,
    /// Samples of these many entries, in turn.
    training: &'static [usize],
    /// What is compressed with it, and how hard.
    tests: &'static [(&'static str, &'static [usize])],
    levels: &'static [i32],
    /// The bytes that such a run is compressed from.
    sample: fn(&[Entry]) -> Vec<u8>,
}

/// Small rows and closed chunks.
const ROWS: Kind = Kind {
    bytes: 24 * 1024,
    training: &[1, 2, 1, 5, 1, 48],
    tests: &[("rows of up to 5", &[1, 2, 5]), ("rows of 48", &[48])],
    levels: &[1, 3, 6],
    sample: chunk::row_sample,
};

/// Much shorter than blocks are: the trainer takes the beginnings of samples, and a block is mostly text.
const BLOCKS: Kind = Kind {
    bytes: 110 * 1024,
    training: &[30],
    tests: &[("blocks of 250", &[250]), ("blocks of 1,000", &[1_000])],
    levels: &[12, 19],
    sample: chunk::block_sample,
};

#[derive(Deserialize)]
struct Line {
    day: String,
    at: String,
    from: String,
    text: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::args().nth(1).ok_or("name the file to write")?);
    let kind = match std::env::args().nth(2).as_deref() {
        Some("rows") => ROWS,
        Some("blocks") => BLOCKS,
        _ => return Err("say what is compressed: rows or blocks".into()),
    };
    let lines = std::io::stdin().lock().lines().map(|line| Ok(serde_json::from_str(&line?)?));
    let lines = lines.collect::<Result<Vec<Line>, Box<dyn std::error::Error>>>()?;
    // Blocks of 1,000 lines, so that test and training are different talks.
    let (training, test): (Vec<_>, Vec<_>) = lines.chunks(1_000).enumerate().partition(|(index, _)| index % 2 == 0);
    let training: Vec<_> =
        training.into_iter().flat_map(|(_, block)| samples(block, kind.training, kind.sample)).collect();
    let dictionary = zstd::dict::from_samples(&training, kind.bytes)?;
    std::fs::write(&out, &dictionary)?;

    for level in kind.levels {
        let mut with = zstd::bulk::Compressor::with_dictionary(*level, &dictionary)?;
        let mut without = zstd::bulk::Compressor::new(*level)?;
        for (name, runs) in kind.tests {
            let (mut before, mut plain, mut packed) = (0, 0, 0);
            for sample in test.iter().flat_map(|(_, block)| samples(block, runs, kind.sample)) {
                before += sample.len();
                plain += without.compress(&sample)?.len();
                packed += with.compress(&sample)?.len();
            }
            let line = format!("level {level}, {name}: {before} bytes, zstd {plain}, with the dictionary {packed}\n");
            std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
        }
    }
    Ok(())
}

fn samples(block: &[Line], runs: &[usize], sample: fn(&[Entry]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut rest = block;
    let mut samples = Vec::new();
    for length in runs.iter().cycle() {
        let Some((run, tail)) = rest.split_at_checked(*length) else { break };
        let entries: Vec<_> = run.iter().enumerate().filter_map(|(index, line)| entry(index, line)).collect();
        samples.push(sample(&entries));
        rest = tail;
    }
    samples
}

/// An entry as the server would keep it; one in eight with something that is not plain text.
fn entry(index: usize, line: &Line) -> Option<Entry> {
    let from = UserId::new(&line.from).ok()?;
    let mut message = Message { text: line.text.as_str().into(), ..Message::default() };
    let fingerprint = line.text.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let (seq, mut fold, mut body) = (index as u64 + 1, None, None);
    match fingerprint % 40 {
        0 => message.reply_to = Some(Seq(seq + fingerprint % 300)),
        1 => message.mentions = vec![line.from.as_str().into()],
        2 => {
            message.data = Some(format!("{{\"type\":\"link\",\"url\":\"https://www.{}.com/\"}}", line.from).into());
        }
        3 => {
            let reactions = Reactions { emoji: "👍".into(), users: vec![from.clone()] };
            fold = Some(Box::new(Fold { reactions: vec![reactions], ..Fold::default() }));
        }
        4 => body = Some(Body::Reaction { target: Seq(seq), emoji: "❤️".into(), on: true }),
        _ => {}
    }
    let minutes = |text: &str| text.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap_or(0));
    let days = line.day.split('-').fold(0, |sum, part| sum * 31 + part.parse::<u64>().unwrap_or(0));
    Some(Entry {
        seq: Seq(seq),
        at_ms: 1_795_132_800_000 + (days % 1_000 * 1_440 + minutes(&line.at)) * 60_000 + fingerprint % 60_000,
        from,
        ord: seq,
        client_msg_id: Some("00000000-0000-0000-0000-000000000000".into()),
        body: body.unwrap_or(Body::Message(message)),
        void: false,
        fold,
    })
}
