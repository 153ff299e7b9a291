//! `strace` as the disk's saboteur: makes system calls of a server process fail, at the call that the test wants.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Attached to a process; detaches when dropped.
pub struct Strace {
    process: Child,
}

/// Which threads are watched.
pub enum Whom {
    /// The one of this name.
    Thread(&'static str),
    All,
}

/// Makes call number `nth` of `call` fail with `error`, counted from now on (of each thread apart).
#[derive(Default)]
pub struct Fault<'a> {
    pub call: &'a str,
    /// Its name, and what else `strace` shall do, such as `EIO:delay_enter=1s`.
    pub error: &'a str,
    pub nth: u32,
    /// Only calls about these files; all, if there are none.
    pub paths: Vec<String>,
}

impl Fault<'_> {
    fn arguments(&self) -> Vec<String> {
        let Self { call, error, nth, paths } = self;
        let mut arguments = vec![
            format!("--trace={call}"),
            format!("--inject={call}:error={error}:when={nth}"),
            // What is not sabotaged is not slowed down.
            "--output=/dev/null".to_owned(),
        ];
        arguments.extend(paths.iter().flat_map(|path| ["-P".to_owned(), path.clone()]));
        arguments
    }
}

impl Strace {
    /// Returns when the process is watched.
    pub fn attach(process: u32, whom: &Whom, fault: &Fault<'_>) -> Self {
        let mut strace = Command::new("strace");
        match whom {
            Whom::Thread(name) => strace.arg(format!("--attach={}", thread(process, name))),
            Whom::All => strace.args(["--follow-forks", &format!("--attach={process}")]),
        };
        let mut process = strace.args(fault.arguments()).stderr(Stdio::piped()).spawn().expect("strace is installed");
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(" attached") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "strace may not attach: {line}");
        }
        // It must not wait for a reader later on.
        std::thread::spawn(move || said.lines().count());
        Self { process }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Asked politely, it lets the process go.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// Starts a command whose calls fail from its beginning; the process is the command's own.
pub fn sabotaged(command: &Command, fault: &Fault<'_>) -> Command {
    under_strace(command, &fault.arguments())
}

/// Starts a command whose calls are written down with all their bytes; the process is the command's own.
pub fn traced(command: &Command, calls: &str, output: &Path) -> Command {
    let output = format!("--output={}", output.display());
    let all = ["--absolute-timestamps=format:unix,precision:us", "--decode-fds=path", "--strings-in-hex=all"];
    let arguments = all.into_iter().map(str::to_owned);
    let arguments = arguments.chain(["--string-limit=16777216".to_owned(), format!("--trace={calls}"), output]);
    under_strace(command, &arguments.collect::<Vec<_>>())
}

fn under_strace(command: &Command, arguments: &[String]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["--daemonize=grandchild", "--follow-forks", "--quiet=attach,exit"]).args(arguments);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

/// The number of a process's thread.
fn thread(process: u32, name: &str) -> String {
    let threads = fs::read_dir(Path::new("/proc").join(process.to_string()).join("task")).unwrap();
    let mut threads = threads.map(|thread| thread.unwrap().path());
    let found = threads.find(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name));
    found.unwrap_or_else(|| panic!("no thread {name}")).file_name().unwrap().to_str().unwrap().to_owned()
}
