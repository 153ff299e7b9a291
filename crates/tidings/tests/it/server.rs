//! A server process of a test, and the commands of people who use it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A server and the folders of its users. Killed when dropped.
pub struct Server {
    process: Child,
    pub url: String,
    pub folder: TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings by their dotted names.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, url) = serve(tidings(), folder.path(), "127.0.0.1:0", settings);
        Self { process, url, folder }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.ended()
    }

    /// SIGTERM, and on with the test.
    pub fn ask_to_stop(&self) {
        assert!(Command::new("kill").arg(self.process.id().to_string()).status().unwrap().success());
    }

    /// Waits for its end; the exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }

    /// Whether it has, without waiting.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// SIGKILL: nothing is tidied up.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// At the same address, which is free again.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    pub fn restart_with(&mut self, settings: &[(&str, &str)]) {
        self.restart_as(tidings(), settings);
    }

    /// As another program.
    pub fn restart_as(&mut self, program: Command, settings: &[(&str, &str)]) {
        let address = self.url.strip_prefix("http://").unwrap().to_owned();
        (self.process, self.url) = serve(program, self.folder.path(), &address, settings);
    }

    /// A command of a person who has a config folder of their own.
    pub fn command(&self, person: &str, words: &[&str]) -> Command {
        let mut command = tidings();
        command
            .args(words)
            .env("TIDINGS_URL", &self.url)
            .env("TIDINGS_DATA", self.folder.path().join("data"))
            .env("XDG_CONFIG_HOME", self.folder.path().join(person));
        command
    }

    pub fn run(&self, person: &str, words: &[&str]) -> Output {
        self.command(person, words).output().unwrap()
    }

    /// What a command prints that must succeed, line by line as JSON.
    pub fn json(&self, person: &str, words: &[&str]) -> Vec<Value> {
        let output = self.run(person, &[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        lines(&output.stdout)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn tidings() -> Command {
    of_program(Path::new(env!("CARGO_BIN_EXE_tidings")))
}

pub fn of_program(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["TIDINGS_URL", "TIDINGS_USER", "TIDINGS_ADMIN_TOKEN", "TIDINGS_DATA", "TIDINGS_CONFIG"] {
        command.env_remove(name);
    }
    command
}

/// The command that serves the data in a folder.
pub fn serving(folder: &Path, address: &str, settings: &[(&str, &str)]) -> Command {
    serving_as(tidings(), folder, address, settings)
}

fn serving_as(mut command: Command, folder: &Path, address: &str, settings: &[(&str, &str)]) -> Command {
    // To look on while a test runs: TEST_LOG=info.
    let level = std::env::var("TEST_LOG").unwrap_or_else(|_| "error".to_owned());
    command
        .args(["serve", "--listen", address, "--set", &format!("log.level={level}"), "--data"])
        .arg(folder.join("data"))
        .args(settings.iter().map(|(name, value)| format!("--set={name}={value}")));
    command
}

fn serve(program: Command, folder: &Path, address: &str, settings: &[(&str, &str)]) -> (Child, String) {
    let mut process = serving_as(program, folder, address, settings).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").expect("the line that says it is ready").to_owned();
    (process, url)
}

/// Status and body of what a `GET` answers.
pub fn get(url: &str, path: &str) -> (u16, String) {
    call(url, "GET", path, "", "")
}

/// Status and body of a call; without a token, of nobody's.
pub fn call(url: &str, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let mut line = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let shown = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let length = body.len();
    write!(
        line,
        "{method} {path} HTTP/1.0\r\n{shown}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub fn lines(bytes: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(bytes).lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

pub fn code(output: &Output) -> Option<i32> {
    output.status.code()
}
