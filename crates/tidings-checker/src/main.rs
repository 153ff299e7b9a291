//! `tidings-checker history.jsonl`: checks a recorded history. Exits with 0 if every promise held, 1 if one was broken, 2 if
//! the history cannot be read.

use std::{
    fs::File,
    io::{BufReader, Write, stderr, stdin, stdout},
    process::ExitCode,
};

use tidings_checker::{HistoryError, Report, Server, check_jsonl};

const USAGE: &str = "usage: tidings-checker [--fleet] [--json] HISTORY.jsonl   (- reads standard input)";

fn main() -> ExitCode {
    let mut json = false;
    let mut server = Server::Alone;
    let mut path = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--fleet" => server = Server::Fleet,
            option if option.starts_with("--") => return complain(USAGE),
            _ if path.is_some() => return complain(USAGE),
            _ => path = Some(argument),
        }
    }
    let Some(path) = path else { return complain(USAGE) };
    match read(server, &path) {
        Ok(report) => tell(&report, json),
        Err(error) => complain(&format!("failed to read {path}: {error}")),
    }
}

fn read(server: Server, path: &str) -> Result<Report, HistoryError> {
    match path {
        "-" => check_jsonl(server, stdin().lock()),
        path => check_jsonl(server, BufReader::with_capacity(1 << 20, File::open(path)?)),
    }
}

fn tell(report: &Report, json: bool) -> ExitCode {
    let text = if json {
        serde_json::to_string(report).expect("reports have string keys and no failing values") + "\n"
    } else {
        report.to_string()
    };
    // Who reads only the beginning and closes the pipe still gets the verdict as exit code.
    let _ = stdout().lock().write_all(text.as_bytes());
    ExitCode::from(u8::from(!report.is_green()))
}

fn complain(what: &str) -> ExitCode {
    let _ = writeln!(stderr().lock(), "{what}");
    ExitCode::from(2)
}
