//! The bound on what was submitted and is not yet in the tables, in bytes, and how senders are slowed as it fills. It
//! knows positions and sizes, no commit.
//!
//! Up to half of the bound nobody waits. Above it reservations are spaced out: at twice the pace at which the flush has
//! been releasing when a quarter of the upper half is used, at its pace when half of it is, at half its pace at the
//! bound. So a backlog under steady overload settles near three quarters of its bound, whatever the number of senders,
//! and none of them stands still for as long as a flush takes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use super::Position;

/// No reservation is held back for longer than this by the pace alone; then only the bound itself holds it.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Pauses below what the timer can tell apart are left out; the pace carries them over to a later reservation.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Backlog {
    bound_bytes: u64,
    /// What may still be submitted.
    free: Semaphore,
    /// Bytes that were submitted although nothing was free: those without a reservation, or larger than theirs.
    overdrawn_bytes: AtomicU64,
    pace: Mutex<Pace>,
    /// Commits not yet flushed, in order, with the bytes each one holds.
    unflushed: Mutex<VecDeque<(Position, u64)>>,
}

/// The right to submit some bytes. Dropped unused it gives them back.
#[derive(Debug)]
pub struct Permit {
    backlog: Arc<Backlog>,
    bytes: u64,
}

/// The backlog was closed: the journal failed or stops.
#[derive(Debug)]
pub(super) struct Closed;

impl Backlog {
    pub(super) fn new(bound_bytes: usize) -> Arc<Self> {
        // One reservation is at most u32::MAX bytes, a limit of the semaphore.
        let bound_bytes = bound_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Arc::new(Self {
            bound_bytes: bound_bytes as u64,
            free: Semaphore::new(bound_bytes),
            overdrawn_bytes: AtomicU64::new(0),
            pace: Mutex::new(Pace::default()),
            unflushed: Mutex::new(VecDeque::new()),
        })
    }

    /// Waits, first come, first served, until `bytes` are free. More than the whole bound counts as the bound.
    pub(super) async fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Permit, Closed> {
        let bytes = (bytes as u64).min(self.bound_bytes);
        let half = self.bound_bytes / 2;
        let used = self.used_bytes();
        if used > half {
            let fill = (used - half) as f64 / (self.bound_bytes - half) as f64;
            let pause_until = self.pace.lock().next_slot(Instant::now(), bytes, fill);
            if let Some(pause_until) = pause_until {
                tokio::time::sleep_until(pause_until).await;
            }
        }
        self.free.acquire_many(bytes as u32).await.map_err(|_| Closed)?.forget();
        Ok(Permit { backlog: Arc::clone(self), bytes })
    }

    /// Counts `bytes` as submitted, out of `permit` as far as it goes.
    pub(super) fn charge(&self, permit: Option<Permit>, bytes: u64) {
        let reserved = permit.map_or(0, Permit::into_bytes);
        if reserved > bytes {
            self.give_back(reserved - bytes);
        } else if bytes > reserved {
            let missing = bytes - reserved;
            let taken = self.free.forget_permits(missing as usize) as u64;
            self.overdrawn_bytes.fetch_add(missing - taken, Ordering::Relaxed);
        }
    }

    /// Remembers that the commit at `position` holds `bytes`. In order of positions.
    pub(super) fn committed(&self, position: Position, bytes: u64) {
        self.unflushed.lock().push_back((position, bytes));
    }

    /// Gives back what the commits up to `position` hold.
    pub(super) fn flushed(&self, position: Position) {
        let mut bytes = 0;
        {
            let mut unflushed = self.unflushed.lock();
            while let Some((_, commit_bytes)) = unflushed.pop_front_if(|(at, _)| *at <= position) {
                bytes += commit_bytes;
            }
        }
        if bytes > 0 {
            let pressed = self.used_bytes() > self.bound_bytes / 2;
            self.pace.lock().released(Instant::now(), bytes, pressed);
            self.give_back(bytes);
        }
    }

    pub(super) fn give_back(&self, bytes: u64) {
        // What was overdrawn is paid first.
        let mut paid = 0;
        if self.overdrawn_bytes.load(Ordering::Relaxed) > 0 {
            let settle = |overdrawn: u64| Some(overdrawn.saturating_sub(bytes));
            let before = self
                .overdrawn_bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, settle)
                .expect("settle never declines");
            paid = before.min(bytes);
        }
        if bytes > paid {
            self.free.add_permits((bytes - paid) as usize);
        }
    }

    /// Reserved, submitted or committed, and not yet flushed.
    pub(super) fn used_bytes(&self) -> u64 {
        let free = self.free.available_permits() as u64;
        self.bound_bytes.saturating_sub(free) + self.overdrawn_bytes.load(Ordering::Relaxed)
    }

    /// Ends every reservation, waiting and later ones.
    pub(super) fn close(&self) {
        self.free.close();
    }
}

impl Permit {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn into_bytes(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.backlog.give_back(self.bytes);
        }
    }
}

/// Spaces reservations while the backlog is over its half.
#[derive(Debug, Default)]
struct Pace {
    /// How fast the flush releases; unknown until it was seen while it had to catch up.
    release_bytes_per_s: Option<f64>,
    /// When it last released, or when it first had to catch up.
    released_at: Option<Instant>,
    slot: Option<Instant>,
}

/// How fast a flush is taken to be that was not seen yet: without a guess the first one would let all senders stand still
/// until it ends.
const UNSEEN_BYTES_PER_S: f64 = 16e6;

impl Pace {
    /// When the next `bytes` may pass with the excess over the half at `fill` (0 to 1); `None`: now.
    fn next_slot(&mut self, now: Instant, bytes: u64, fill: f64) -> Option<Instant> {
        self.released_at.get_or_insert(now);
        let bytes_per_s = self.release_bytes_per_s.unwrap_or(UNSEEN_BYTES_PER_S) * 0.5 / fill.max(0.01);
        let slot = self.slot.map_or(now, |slot| slot.max(now));
        let next = slot + Duration::from_secs_f64((bytes as f64 / bytes_per_s).min(1.0));
        self.slot = Some(next.min(now + LONGEST_PAUSE));
        (slot - now >= SHORTEST_PAUSE).then_some(slot)
    }

    /// `pressed`: the backlog was over its half until now, so the time since the last release was all the flush's.
    fn released(&mut self, now: Instant, bytes: u64, pressed: bool) {
        let previous = self.released_at.replace(now);
        let (true, Some(previous)) = (pressed, previous) else { return };
        let seconds = (now - previous).as_secs_f64().max(1e-4);
        let seen = bytes as f64 / seconds;
        self.release_bytes_per_s = Some(self.release_bytes_per_s.unwrap_or(UNSEEN_BYTES_PER_S) * 0.7 + seen * 0.3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bound_holds_and_what_is_flushed_is_free_again() {
        let backlog = Backlog::new(1_000);
        let first = backlog.reserve(600).await.unwrap();
        backlog.charge(Some(first), 500);
        assert_eq!(backlog.used_bytes(), 500);
        let second = backlog.reserve(500).await.unwrap();
        let mut third = std::pin::pin!(backlog.reserve(1));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second);
        drop(third.await.unwrap());

        // Without a reservation the bound may be passed, but then the flush pays that first.
        backlog.charge(None, 700);
        assert_eq!(backlog.used_bytes(), 1_200);
        backlog.committed(Position(1), 500);
        backlog.committed(Position(2), 700);
        backlog.flushed(Position(1));
        assert_eq!(backlog.used_bytes(), 700);
        drop(backlog.reserve(300).await.unwrap());
        assert!(futures_util::poll!(std::pin::pin!(backlog.reserve(301))).is_pending());
        backlog.flushed(Position(9));
        assert_eq!(backlog.used_bytes(), 0);
    }

    #[tokio::test]
    async fn closing_ends_those_who_wait() {
        let backlog = Backlog::new(10);
        let _all = backlog.reserve(10).await.unwrap();
        let mut waiting = std::pin::pin!(backlog.reserve(1));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        backlog.close();
        assert!(waiting.await.is_err());
    }

    /// In virtual time: 200 senders of 1 KB against a flush that releases all there is, at most 1 MB, each 500 ms.
    async fn longest_wait(paced: bool) -> Duration {
        let backlog = Backlog::new(4_000_000);
        let longest = Arc::new(Mutex::new(Duration::ZERO));
        let submitted = Arc::new(AtomicU64::new(0));
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (backlog, longest, submitted) = (Arc::clone(&backlog), Arc::clone(&longest), Arc::clone(&submitted));
            senders.spawn(async move {
                loop {
                    let asked = Instant::now();
                    let permit = backlog.reserve(1_000).await.unwrap();
                    // The first seconds teach the pace; what counts is the steady state.
                    if submitted.load(Ordering::Relaxed) > 20_000 {
                        let mut longest = longest.lock();
                        *longest = (*longest).max(asked.elapsed());
                    }
                    backlog.charge(Some(permit), 1_000);
                    let position = Position(submitted.fetch_add(1, Ordering::Relaxed) + 1);
                    backlog.committed(position, 1_000);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        let mut flushed = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            flushed = (flushed + 1_000).min(submitted.load(Ordering::Relaxed));
            backlog.flushed(Position(flushed));
            if !paced {
                *backlog.pace.lock() = Pace::default();
            }
        }
        *longest.lock()
    }

    #[tokio::test(start_paused = true)]
    async fn senders_are_slowed_smoothly_and_do_not_stall() {
        let paced = longest_wait(true).await;
        assert!(paced <= Duration::from_millis(250), "{paced:?}");
        // The control: the bound alone lets them all wait for the flush.
        let unpaced = longest_wait(false).await;
        assert!(unpaced >= Duration::from_millis(400), "{unpaced:?}");
    }
}
