//! The phases up to the switch: blobs, copy, check, and following what is written.

use std::sync::atomic::Ordering;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use minicbor::{Decode, Encode};

use super::{
    MigrateError, Migration, Parts, Phase,
    copy::{Copier, Unit},
    target::Target,
    tracked::Taken,
};
use crate::tables::{Freshness, Key, Prefix, Row, Tables as _, Version};

/// Conversations or homes under way at once.
const UNITS_AT_ONCE: usize = 32;
/// After so many the place is noted in the target.
const UNITS_A_STEP: usize = 512;
/// Blobs listed at once.
const BLOBS: usize = 500;
const BLOB_FOLDER: &str = "archive";
/// With at most so many rows to be written the target has followed.
const BEHIND_MAX: usize = 20_000;

/// How far the copy is: a row of the target.
const PLACE: Key = Key::Meta("migration");

/// The phases, with what they use.
pub(super) struct Walk<'a> {
    pub migration: &'a Migration,
    pub target: &'a dyn Target,
    pub copier: Copier<'a>,
}

/// The value of [`PLACE`].
#[derive(Clone, Debug, Default, Encode, Decode)]
struct Place {
    /// Rises with each write: the row's version.
    #[n(0)]
    version: u64,
    /// The last conversation or home that was copied with all before it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    after: Vec<u8>,
    /// All conversations are copied: the homes follow.
    #[n(2)]
    conversations: bool,
    /// Everything is copied.
    #[n(3)]
    all: bool,
}

impl Walk<'_> {
    pub fn parts(&self) -> &Parts {
        &self.migration.parts
    }

    pub fn report(&self, more: u64) {
        let read = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let Copier { rows, bytes, mended, .. } = &self.copier;
        let (rows, bytes, mended) = (read(rows), read(bytes), read(mended));
        self.migration.note(|status| {
            (status.rows, status.bytes, status.mended) = (rows, bytes, mended);
            status.done += more;
        });
    }

    /// No round of the archive makes another meanwhile.
    pub async fn blobs(&self) -> Result<(), MigrateError> {
        let Some(there) = self.target.blobs() else { return Ok(()) };
        let mut after: Option<String> = None;
        loop {
            let page = self.parts().blobs.list(BLOB_FOLDER, after.as_deref(), BLOBS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let known = there.list(BLOB_FOLDER, after.as_deref(), BLOBS).await?;
            after = Some(last.name.clone());
            for blob in page {
                if !known.iter().any(|known| known.name == blob.name) {
                    there.put_new(&blob.name, self.parts().blobs.get(&blob.name).await?).await?;
                }
                self.migration.note(|status| status.blobs += 1);
            }
        }
    }

    pub async fn count(&self) -> Result<(), MigrateError> {
        for prefix in [Prefix::Conversations, Prefix::Homes] {
            let mut after = None;
            loop {
                let page = self.parts().tables.rows(prefix.clone(), after, UNITS_A_STEP).await?;
                let Some((last, _)) = page.last() else { break };
                self.migration.note(|status| status.units += page.len() as u64);
                after = Some(last.clone());
            }
        }
        Ok(())
    }

    pub async fn copy(&self) -> Result<(), MigrateError> {
        let mut place = self.place().await?;
        if place.version > 0 && !place.all {
            tracing::info!("an earlier migration came to its end: going on where it was");
        }
        for (prefix, are_homes) in [(Prefix::Conversations, false), (Prefix::Homes, true)] {
            if place.all || place.conversations != are_homes {
                continue;
            }
            let mut after = Key::decode(&place.after);
            loop {
                let units = self.units(&prefix, &mut after).await?;
                if units.is_empty() {
                    break;
                }
                let copies = units.iter().map(|unit| self.copier.copy(unit).boxed()).collect();
                several(copies).await?;
                place.after = after.as_ref().map(Key::encode).unwrap_or_default();
                self.keep(&mut place).await?;
                self.report(units.len() as u64);
            }
            (place.after, place.conversations, place.all) = (Vec::new(), true, are_homes);
            self.keep(&mut place).await?;
        }
        Ok(())
    }

    /// Until one check went through in which all that was written meanwhile could be noted.
    pub async fn check(&self) -> Result<(), MigrateError> {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            self.migration.note(|status| (status.phase, status.done) = (Phase::Checking, 0));
            // What was noted is compared below, with all else; what is written from here on is noted.
            self.parts().tables.forget();
            for prefix in [Prefix::Conversations, Prefix::Homes] {
                let mut after = None;
                loop {
                    let units = self.units(&prefix, &mut after).await?;
                    if units.is_empty() {
                        break;
                    }
                    let checks = units.iter().map(|unit| self.copier.check(unit).boxed()).collect();
                    several(checks).await?;
                    self.report(units.len() as u64);
                }
            }
            loop {
                let before = self.parts().tables.count();
                match self.parts().tables.take() {
                    Ok(noted) => self.written(noted).await?,
                    Err(_) => break,
                }
                self.report(0);
                if before <= BEHIND_MAX {
                    return Ok(());
                }
            }
        }
        Err(MigrateError::TooMuch)
    }

    pub async fn follow(&self) -> Result<(), MigrateError> {
        let noted = self.parts().tables.take().map_err(|_| MigrateError::TooMuch)?;
        self.written(noted).await?;
        self.report(0);
        Ok(())
    }

    async fn written(&self, noted: Taken<'_>) -> Result<(), MigrateError> {
        self.copier.follow(noted.rows()).await?;
        noted.done();
        Ok(())
    }

    /// The next ones behind `after`, which moves on.
    async fn units(&self, prefix: &Prefix, after: &mut Option<Key>) -> Result<Vec<Unit>, MigrateError> {
        let page = self.parts().tables.rows(prefix.clone(), after.clone(), UNITS_A_STEP).await?;
        if let Some((last, _)) = page.last() {
            *after = Some(last.clone());
        }
        Ok(page.into_iter().filter_map(|(key, _)| Unit::of(key)).collect())
    }

    async fn place(&self) -> Result<Place, MigrateError> {
        let stored = self.copier.target.get(vec![PLACE]).await?.pop().flatten();
        Ok(stored.and_then(|stored| minicbor::decode(&stored.value).ok()).unwrap_or_default())
    }

    async fn keep(&self, place: &mut Place) -> Result<(), MigrateError> {
        place.version += 1;
        let value = Some(minicbor::to_vec(&*place).expect("a vector takes all bytes").into());
        let row = Row { key: PLACE, version: Version(place.version), value };
        Ok(self.copier.target.put_max(vec![row], Freshness::Unknown).await?)
    }
}

/// Some at once, until all are done or one fails.
async fn several(work: Vec<BoxFuture<'_, Result<(), MigrateError>>>) -> Result<(), MigrateError> {
    futures_util::stream::iter(work).buffer_unordered(UNITS_AT_ONCE).try_collect().await
}
