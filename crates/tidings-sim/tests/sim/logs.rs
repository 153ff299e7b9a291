//! What the server's code logs, among the lines of a trace: for people who look for a cause.

use std::{cell::Cell, io, sync::Arc};

use super::world::{Place, World};

thread_local! {
    /// Whose turn it is.
    static TURN: Cell<Place> = const { Cell::new(Place::Store) };
}

/// From now on it is this one who logs.
pub fn turn_of(place: Place) {
    TURN.set(place);
}

/// Has the trace keep what is logged. To be called once.
pub fn keep(world: &Arc<World>) {
    let world = world.clone();
    let lines = move || Line { world: world.clone() };
    let subscriber = tracing_subscriber::fmt().with_writer(lines).with_ansi(false).without_time();
    subscriber.with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
}

struct Line {
    world: Arc<World>,
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.world.explain(|| format!("{} says {}", TURN.get(), String::from_utf8_lossy(bytes).trim()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
