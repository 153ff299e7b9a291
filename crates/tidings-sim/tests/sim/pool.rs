//! Many seeds, each in a process of its own, a few at once; and the tests made of them. A process, because much of what is drawn
//! from the system is drawn once for a process; and so a seed that hangs or panics ends alone.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{flaw::Flaw, run};

/// Begins the line that a seed's process ends with.
const VERDICT: &str = "verdict ";

/// Seeds of the tests that must hold.
const HELD: u64 = 4;
/// Within so many seeds each flaw must be found.
const FOUND_WITHIN: u64 = 40;

/// What a process said of a seed.
#[derive(Clone, Debug)]
struct Said {
    is_good: bool,
    /// The hash of the trace and the figures.
    trace: String,
    figures: String,
    output: String,
}

/// Runs one seed here.
pub fn one(number: u64, rest: &[&str]) -> ExitCode {
    let value = |name: &str| rest.iter().position(|arg| *arg == name).and_then(|at| rest.get(at + 1)).copied();
    let flaw = value("--flaw").map(|name| Flaw::of(name).expect("a flaw has one of these names: see flaw.rs"));
    let folder = value("--trace").map(Path::new);
    let outcome = run::run(number, flaw, folder.is_some());
    let mut out = std::io::stdout().lock();
    for fault in &outcome.faults {
        let _ = writeln!(out, "{fault}");
    }
    if let Some(folder) = folder {
        let written = write_files(folder, number, &outcome);
        let _ = writeln!(out, "{}", written.unwrap_or_else(|error| format!("the trace could not be written: {error}")));
    }
    let (hash, events) = outcome.trace;
    let _ = writeln!(out, "{}", outcome.figures);
    let _ = writeln!(out, "{VERDICT}{} {hash:016x} {events}", outcome.faults.is_empty());
    let _ = out.flush();
    // What is left of the fleet is not taken apart.
    std::process::exit(i32::from(!outcome.faults.is_empty()))
}

fn write_files(folder: &Path, number: u64, outcome: &run::Outcome) -> std::io::Result<String> {
    std::fs::create_dir_all(folder)?;
    let (trace, history) = (folder.join(format!("{number}.trace")), folder.join(format!("{number}.history.jsonl")));
    std::fs::write(&trace, outcome.lines.join("\n") + "\n")?;
    let records = outcome.history.iter().flat_map(|history| history.records());
    let records = records.map(|record| serde_json::to_string(record).expect("records have string keys") + "\n");
    std::fs::write(&history, records.collect::<String>())?;
    Ok(format!("{} and {}", trace.display(), history.display()))
}

/// Runs a seed in a process of its own.
fn ask(number: u64, more: &[&str]) -> Said {
    let me = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(me);
    command.arg("seed").arg(number.to_string()).args(more).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().expect("a process can be started");
    let mut output = String::new();
    child.stdout.take().expect("it is a pipe").read_to_string(&mut output).expect("it is text");
    let status = child.wait().expect("it is our child");
    let lines: Vec<&str> = output.lines().collect();
    let verdict = lines.last().and_then(|line| line.strip_prefix(VERDICT)).unwrap_or_default().to_owned();
    let figures = lines.len().checked_sub(2).map_or("", |at| lines[at]).to_owned();
    let is_good = status.success() && verdict.starts_with("true");
    Said { is_good, trace: verdict, figures, output }
}

/// Calls `act` for each number, two at once or as many as there are processors, until it says that this is enough.
fn each(numbers: std::ops::Range<u64>, act: impl Fn(u64) -> bool + Sync) {
    let (next, is_enough) = (AtomicU64::new(numbers.start), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let work = || {
        while !is_enough.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return;
            }
            if act(number) {
                is_enough.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
}

/// Where what failed is looked at.
fn folder() -> PathBuf {
    std::env::temp_dir().join("tidings-sim")
}

/// Runs it again with its trace, and says how to run it alone.
fn explain(number: u64) -> String {
    let folder = folder();
    let said = ask(number, &["--trace", &folder.display().to_string()]);
    format!("seed {number} fails (make sim SEED={number} runs it alone):\n{}", said.output)
}

pub fn many(first: u64, count: u64) -> ExitCode {
    let began = Instant::now();
    let (done, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    each(first..first + count, |number| {
        let said = ask(number, &[]);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if !said.is_good {
            eprintln!("{}", explain(number));
            failed.lock().expect("nobody panics").push(number);
        }
        if done.is_multiple_of(25) || done == count {
            let failed = failed.lock().expect("nobody panics").len();
            eprintln!(
                "{done} of {count} seeds, {failed} failed, {:.0} s; the last: {}",
                began.elapsed().as_secs_f32(),
                said.figures
            );
        }
        false
    });
    let mut failed = failed.into_inner().expect("nobody panics");
    failed.sort_unstable();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("failed: {failed:?}");
    ExitCode::FAILURE
}

type Test = (&'static str, fn() -> Result<String, String>);

const TESTS: &[Test] = &[
    ("a_seed_gives_the_same_trace_twice", same_twice),
    ("seeds_hold", seeds_hold),
    ("each_flaw_is_found", flaws_are_found),
];

/// As the test harness does it, as far as cargo and people ask for.
pub fn tests(args: &[&str]) -> ExitCode {
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match *arg {
            "--skip" => skipped.extend(rest.next().copied()),
            "--test-threads" => drop(rest.next()),
            arg if arg.starts_with('-') => {}
            filter => wanted.push(filter),
        }
    }
    let is_chosen = |name: &str| {
        (wanted.is_empty() || wanted.iter().any(|filter| name.contains(filter)))
            && !skipped.iter().any(|filter: &&str| name.contains(*filter))
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| is_chosen(name)) {
        if args.contains(&"--list") {
            say(&format!("{name}: test"));
            continue;
        }
        let began = Instant::now();
        let outcome = test();
        let (word, what) = match &outcome {
            Ok(what) => ("ok", what),
            Err(what) => ("FAILED", what),
        };
        say(&format!("test {name} ... {word} ({:.1} s): {what}", began.elapsed().as_secs_f32()));
        if outcome.is_ok() { passed += 1 } else { failed += 1 }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!("test result: {word}. {passed} passed; {failed} failed; 0 ignored"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    // Who does not read is not waited for.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn same_twice() -> Result<String, String> {
    let said = Mutex::new(vec![String::new(); 3]);
    each(0..3, |place| {
        // The first and the last are the same seed.
        let trace = ask([1, 2, 1][place as usize], &[]).trace;
        said.lock().expect("nobody panics")[place as usize] = trace;
        false
    });
    let said = said.into_inner().expect("nobody panics");
    match &said[..] {
        [one, other, again] if one == again && one != other && !one.is_empty() => Ok(one.clone()),
        _ => Err(format!("seed 1, seed 2 and seed 1 again gave {said:?}")),
    }
}

fn seeds_hold() -> Result<String, String> {
    let (failed, figures) = (Mutex::new(Vec::new()), Mutex::new(String::new()));
    each(1..HELD + 1, |number| {
        let said = ask(number, &[]);
        if !said.is_good {
            failed.lock().expect("nobody panics").push(number);
        }
        *figures.lock().expect("nobody panics") = said.figures;
        false
    });
    let mut failed = failed.into_inner().expect("nobody panics");
    failed.sort_unstable();
    let figures = figures.into_inner().expect("nobody panics");
    match failed.first() {
        None => Ok(format!("{HELD} seeds; one of them: {figures}")),
        Some(first) => Err(format!("seeds {failed:?}; {}", explain(*first))),
    }
}

fn flaws_are_found() -> Result<String, String> {
    let mut found = Vec::new();
    for flaw in Flaw::ALL {
        let by = AtomicU64::new(0);
        each(1..FOUND_WITHIN + 1, |number| {
            let said = ask(number, &["--flaw", flaw.name()]);
            let is_found = !said.is_good && said.output.lines().any(|line| line.starts_with(flaw.tells_as()));
            if is_found {
                by.store(number, Ordering::Relaxed);
            }
            is_found
        });
        match by.into_inner() {
            0 => return Err(format!("{} goes unseen in {FOUND_WITHIN} seeds", flaw.name())),
            seed => found.push(format!("{} by seed {seed}", flaw.name())),
        }
    }
    Ok(found.join(", "))
}
