//! One seed: a fleet begins, people talk, faults strike and are mended, all falls quiet, and what was seen is judged.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tidings_checker::{History, Recorder};
use tokio::sync::watch;

use super::{
    audit,
    device::Device,
    faults::{self, Planned},
    flaw::Flaw,
    fleet::Fleet,
    judge, logs,
    proof::world::{OWNER, World as People, user},
    seed,
    world::{Weather, World},
};

/// The devices: whose, and their names.
const DEVICES: [(&str, &str); 8] = [
    ("ada", "laptop"),
    ("ada", "phone"),
    ("bob", "laptop"),
    ("bob", "phone"),
    ("eve", "laptop"),
    ("dan", "laptop"),
    ("mal", "laptop"),
    ("kim", "phone"),
];

/// How long people talk.
const LENGTH: Duration = Duration::from_secs(12);
/// Longer than anything takes that comes to an end.
const LIMIT: Duration = Duration::from_secs(180);
/// What is stuck for so long where something is wrong on purpose is not waited for.
const LIMIT_OF_FLAWED: Duration = Duration::from_secs(60);
/// Longer than everything needs to get into the tables.
const QUIET: Duration = Duration::from_secs(6);

/// What came of a seed.
pub struct Outcome {
    /// What must not be; none: all held.
    pub faults: Vec<String>,
    /// All that happened, as a number, and how much that was.
    pub trace: (u64, u64),
    pub figures: String,
    pub lines: Vec<String>,
    pub history: Option<History>,
}

/// Panics of tasks, which their runtimes swallow.
fn panics() -> &'static Mutex<Vec<String>> {
    static PANICS: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    PANICS.get_or_init(Mutex::default)
}

/// Once in a process: what is random in the libraries is set for good.
pub fn run(number: u64, flaw: Option<Flaw>, keeps_trace: bool) -> Outcome {
    seed::set(number);
    std::panic::set_hook(Box::new(move |panic| {
        if keeps_trace {
            eprintln!("{panic}");
        }
        panics().lock().push(panic.to_string());
    }));
    let world = World::new(number, keeps_trace);
    if keeps_trace {
        logs::keep(&world);
    }
    let clock = world.clone();
    let people = Arc::new(People::new(Recorder::simulated(move || clock.now_ns())));
    let nodes = world.random(|rng| rng.random_range(3..6));
    let later = usize::from(world.random(|rng| rng.random_ratio(1, 5)));
    let mut fleet = Fleet::new(&world, nodes, later, flaw);
    let mut faults = Vec::new();
    // One that panics here has said so.
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut fleet, nodes, &people)));
    faults.extend(lived.ok().and_then(Result::err));
    faults.append(&mut panics().lock());
    let history = people.recorder.history();
    faults.extend(judge::judge(&fleet, &history));
    let lines = world.trace_lines();
    world.note(format_args!("{} events recorded", history.records().count()));
    let (acked, unavailable) = (people.acked(), people.unavailable());
    let seconds = world.now().as_secs();
    let figures = format!("{nodes} nodes, {seconds} s, {acked} acked, {unavailable} unavailable");
    let outcome = Outcome { faults, trace: world.trace(), figures, lines, history: keeps_trace.then_some(history) };
    // What runs still may fall over each other when it is dropped.
    std::mem::forget(fleet);
    outcome
}

/// `nodes` are there at the beginning.
fn live(fleet: &mut Fleet, nodes: usize, people: &Arc<People>) -> Result<(), String> {
    let limit = if fleet.ground.flaw.is_some() { LIMIT_OF_FLAWED } else { LIMIT };
    if !fleet.until(limit, Fleet::is_settled) {
        return Err(format!("the fleet does not settle at its beginning: {:?}", fleet.unsettled()));
    }
    let setting_up = fleet.spawn(audit::set_up(people.clone(), fleet.lines.clone()));
    if !fleet.until(limit, |_| setting_up.is_finished()) {
        return Err("the groups cannot be made".to_owned());
    }
    let (over, is_over) = watch::channel(false);
    let devices: Vec<_> = DEVICES
        .into_iter()
        .map(|(person, name)| {
            let rng = StdRng::seed_from_u64(fleet.world.random(|rng| rng.random()));
            let device = Device::new(people, &fleet.lines, person, name, rng, is_over.clone());
            (person, name, fleet.spawn(device.live()))
        })
        .collect();
    let begin = fleet.world.now();
    let mut rng = StdRng::seed_from_u64(fleet.world.random(|rng| rng.random()));
    let mut plan = faults::plan(&mut rng, nodes, nodes..fleet.nodes.len(), begin, LENGTH);
    let serving = fleet.serving(&user(OWNER)).expect("the fleet is settled");
    if let Some((fault, lasting)) = fleet.ground.flaw.and_then(|flaw| flaw.shown_by(serving)) {
        let from = begin + LENGTH / 3;
        plan.push(Planned { fault, from, to: from + lasting });
        plan.sort_by_key(|planned| planned.from);
    }
    befall(fleet, people, plan, begin + LENGTH);
    people.recorder.mark("over");
    over.send_replace(true);
    if !fleet.until(limit, |_| devices.iter().all(|(_, _, device)| device.is_finished())) {
        let left = devices.iter().filter(|(_, _, device)| !device.is_finished());
        let left: Vec<_> = left.map(|(person, name, _)| format!("{person}'s {name}")).collect();
        return Err(format!("no end for {}; {:?}", left.join(", "), fleet.unsettled()));
    }
    if !fleet.until(limit, Fleet::is_settled) {
        return Err(format!("the fleet does not settle again: {:?}", fleet.unsettled()));
    }
    fleet.until(QUIET, |_| false);
    people.recorder.mark(judge::QUIET);
    let reading = fleet.spawn(audit::read_all(people.clone(), fleet.lines.clone()));
    if !fleet.until(limit, |_| reading.is_finished()) {
        return Err("the logs cannot be read at the end".to_owned());
    }
    fleet.until(QUIET, |_| false);
    let read = reading.now_or_never().expect("it is finished");
    read.map_err(|error| format!("the reading of the logs failed: {error}"))?
}

/// Has the faults strike and mends them, until `end` and until the last is mended.
fn befall(fleet: &mut Fleet, people: &People, plan: Vec<Planned>, end: Duration) {
    let mut coming = plan.into_iter().peekable();
    let mut lasting: Vec<Planned> = Vec::new();
    while fleet.world.now() < end || !lasting.is_empty() || coming.peek().is_some() {
        let now = fleet.world.now();
        while let Some(planned) = coming.next_if(|planned| planned.from <= now) {
            people.recorder.mark(&planned.fault.to_string());
            planned.fault.strike(fleet, planned.to - planned.from);
            lasting.push(planned);
        }
        lasting.retain(|planned| {
            let is_over = planned.to <= now;
            if is_over {
                planned.fault.mend(fleet);
            }
            !is_over
        });
        fleet.tick();
    }
    // Two of a kind may have overlapped.
    fleet.world.set_weather(|weather| *weather = Weather::default());
}
