//! Actors in memory by name: loaded once however many ask at the same time, found without a hop afterwards, and given up
//! by bytes when nobody holds them.

use std::{
    hash::{BuildHasher, Hash},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::maps::{HashMap, Hashing};

const PARTS: usize = 64;

/// Who loads may be held up by what its connection does beside; the others load by themselves then.
const PATIENCE: Duration = Duration::from_millis(250);

/// What an actor tells about itself so that it can be given up.
pub trait Cached {
    /// In which sweep it was last asked for.
    fn used(&self) -> u64;
    /// About how many bytes it takes.
    fn weight(&self) -> usize;
    /// Whether it may go. Called while nobody else holds it.
    fn is_idle(&self) -> bool;
}

enum Slot<A> {
    Loaded(Arc<A>),
    /// Whoever holds the gate loads.
    Loading(Arc<tokio::sync::Mutex<()>>),
}

type Part<K, A> = Mutex<HashMap<K, Slot<A>>>;

pub struct Registry<K, A> {
    parts: Box<[Part<K, A>]>,
    hasher: Hashing,
}

impl<K, A> Default for Registry<K, A> {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::new(HashMap::default())).collect(), hasher: Hashing::default() }
    }
}

impl<K: Eq + Hash + Clone, A: Cached> Registry<K, A> {
    fn part(&self, key: &K) -> &Part<K, A> {
        let hash = self.hasher.hash_one(key);
        &self.parts[(hash >> 32) as usize % PARTS]
    }

    /// The actor, if it is in memory.
    pub fn get(&self, key: &K) -> Option<Arc<A>> {
        self.get_or_else(key, || {})
    }

    /// The actor. If it is not in memory `otherwise` runs, before anybody can have loaded it.
    pub fn get_or_else(&self, key: &K, otherwise: impl FnOnce()) -> Option<Arc<A>> {
        let part = self.part(key).lock();
        if let Some(Slot::Loaded(actor)) = part.get(key) {
            return Some(actor.clone());
        }
        otherwise();
        None
    }

    /// The actor, loaded by `load` if need be: once, however many ask. `finish` makes an actor of what was loaded, while no
    /// `get_or_else` of this key can run; `None`: that is out of date, and is to be loaded again.
    pub async fn load<L, E, F: Future<Output = Result<L, E>>>(
        &self,
        key: &K,
        load: impl Fn() -> F,
        finish: impl Fn(L) -> Option<Arc<A>>,
    ) -> Result<Arc<A>, E> {
        loop {
            let gate = {
                let mut part = self.part(key).lock();
                match part.entry(key.clone()).or_insert_with(|| Slot::Loading(Arc::default())) {
                    Slot::Loaded(actor) => return Ok(actor.clone()),
                    Slot::Loading(gate) => gate.clone(),
                }
            };
            let _loading = tokio::time::timeout(PATIENCE, gate.lock()).await;
            if let Some(actor) = self.get(key) {
                return Ok(actor);
            }
            let loaded = load().await?;
            let mut part = self.part(key).lock();
            // Somebody else may have loaded it meanwhile, and it may have gone again: what was read is old then.
            let is_current = matches!(part.get(key), Some(Slot::Loading(now)) if Arc::ptr_eq(now, &gate));
            if is_current && let Some(actor) = finish(loaded) {
                part.insert(key.clone(), Slot::Loaded(actor.clone()));
                return Ok(actor);
            }
        }
    }

    /// Calls `visit` for each actor in memory.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<A>)) {
        for part in &self.parts {
            for slot in part.lock().values() {
                if let Slot::Loaded(actor) = slot {
                    visit(actor);
                }
            }
        }
    }

    /// Takes out those actors for which `goes` says so, and hands each to `leave`.
    pub fn remove(&self, goes: impl Fn(&K) -> bool, mut leave: impl FnMut(Arc<A>)) {
        for part in &self.parts {
            let removed: Vec<_> =
                part.lock().extract_if(|key, slot| matches!(slot, Slot::Loaded(_)) && goes(key)).collect();
            for (_, slot) in removed {
                if let Slot::Loaded(actor) = slot {
                    leave(actor);
                }
            }
        }
    }

    /// Gives up idle actors that were not asked for since `sweep`, until the rest takes at most `max_bytes`. Tells what it takes.
    pub fn give_up(&self, max_bytes: usize, sweep: u64) -> usize {
        let mut bytes: usize = 0;
        self.for_each(|actor| bytes += actor.weight());
        for part in &self.parts {
            if bytes <= max_bytes {
                break;
            }
            part.lock().retain(|_, slot| match slot {
                // The only holder is this map, and who wants another one needs this lock.
                Slot::Loaded(actor) => {
                    let goes =
                        bytes > max_bytes && Arc::strong_count(actor) == 1 && actor.used() < sweep && actor.is_idle();
                    bytes -= if goes { actor.weight().min(bytes) } else { 0 };
                    !goes
                }
                Slot::Loading(gate) => Arc::strong_count(gate) > 1,
            });
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::pin};

    use tokio::sync::oneshot;

    use super::*;

    impl Cached for u32 {
        fn used(&self) -> u64 {
            0
        }
        fn weight(&self) -> usize {
            1
        }
        fn is_idle(&self) -> bool {
            true
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_held_up_while_loading_holds_up_nobody_and_brings_nothing_old() {
        let registry: Registry<u32, u32> = Registry::default();
        let now = |number: u32| async move { Ok::<_, Infallible>(number) };
        let (go_on, held_up) = oneshot::channel::<()>();
        let held_up = Mutex::new(Some(held_up));
        let first_load = || {
            let held_up = held_up.lock().take();
            async move {
                match held_up {
                    Some(held_up) => held_up.await.map(|()| 1).or(Ok::<_, Infallible>(1)),
                    None => Ok(3),
                }
            }
        };
        let mut first = pin!(registry.load(&7, first_load, |number| Some(Arc::new(number))));
        assert!(futures_util::poll!(&mut first).is_pending());
        let Ok(second) = registry.load(&7, || now(2), |number| Some(Arc::new(number))).await;
        assert_eq!(*second, 2);
        drop(second);
        registry.give_up(0, 1);
        assert!(registry.get(&7).is_none());
        go_on.send(()).expect("it waits");
        let Ok(first) = first.await;
        assert_eq!(*first, 3, "what was read before the second one is not taken");
    }
}
